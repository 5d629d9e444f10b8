"""A survey is worked out anew: sizes, patches and pixels must fit each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from server_cases import counts, roster, space, survey

from common.data.regions import Region
from common.errors import RunError
from common.evaluation import EvaluationCounts
from common.patchcore.network.feature_space import FeatureSpace
from common.protocol.messages import (
    CategoryCounts,
    CategoryScores,
    ScoreReply,
    SizeCount,
    SpaceFacts,
    SurveyReply,
)
from common.protocol.records import MalformedReplyError
from server_app.checks import (
    COUNTS_BYTES,
    check_score_reply,
    check_survey,
    most_count_bytes,
    most_row_bytes,
)
from server_app.roster import admit


def told(**changes: Any) -> SurveyReply:
    """Three images of 400 x 400 and one of 750 x 1000, layer2's grid: an eighth, rounded up.

    3 x 50 x 50 + 94 x 125 = 7,500 + 11,750 = 19,250 patches.
    """
    facts: dict[str, Any] = {
        "images": 4,
        "held_out": 1,
        "test": 2,
        "patches": 19_250,
        "sizes": [
            SizeCount(height=400, width=400, images=3),
            SizeCount(height=750, width=1000, images=1),
        ],
        "test_sizes": [SizeCount(height=400, width=400, images=2)],
    }
    return survey("a", categories=None).model_copy(
        update={"categories": {"clip": CategoryCounts(**{**facts, **changes})}}
    )


def test_no_station_holds_out_more_than_the_run_asks_for() -> None:
    """Wrongly taken: a million held-out scores cost the server minutes at the end of a run."""
    for held_out in (1, 10, 11):
        admit(roster(survey("a", {"clip": (90, 900)}, held_out=held_out)))
    for held_out in (13, 1_000_000):
        asked = roster(survey("a", {"clip": (90, 900)}, held_out=held_out))
        with pytest.raises(RunError, match=r"are held out, calibration-fraction 0\.1 makes"):
            admit(asked)


def test_an_honest_survey_passes() -> None:
    check_survey(told())


@pytest.mark.parametrize(("augment", "times"), [("rotations", 4), ("light", 3)])
def test_copies_bring_patches_and_no_images(augment: str, times: int) -> None:
    check_survey(told(patches=times * 19_250), augment)
    with pytest.raises(
        MalformedReplyError, match=f"19250 patches, its 4 images .* {times * 19250}"
    ):
        check_survey(told(), augment)
    with pytest.raises(MalformedReplyError, match="have 19250 in this feature space"):
        check_survey(told(patches=times * 19_250))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patches": 19_251}, "19251 patches, its 4 images have 19250 in this feature space"),
        # A grid that is cut instead of rounded up: 50 x 50 x 3 + 93 x 125.
        ({"patches": 19_125}, "19125 patches, its 4 images have 19250"),
        ({"images": 5}, "sizes of 4 training images for the bank, 5 are there"),
        ({"test": 3}, "sizes of 2 test images, 3 are there"),
        ({"sizes": [SizeCount(height=400, width=400, images=2)] * 2}, "is told twice"),
        ({"sizes": []}, "sizes of 0 training images for the bank, 4 are there"),
    ],
)
def test_numbers_that_contradict_each_other(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(MalformedReplyError, match="category clip: ") as error:
        check_survey(told(**changes))
    assert says in str(error.value)


def test_patches_of_another_image_size_than_stated_are_found_out() -> None:
    """A station that says `image-size 0` and scales all the same cannot pass by accident."""
    scaled = FeatureSpace(**{**space().__dict__, "image_size": 200})
    patches = 4 * 25 * 25  # 200 x 200 after scaling, an eighth of that
    sizes = [SizeCount(height=400, width=400, images=4)]
    as_stated = told(patches=patches, sizes=sizes).model_copy(
        update={"feature_space": SpaceFacts(**scaled.to_json())}
    )
    check_survey(as_stated)
    with pytest.raises(MalformedReplyError, match="2500 patches, its 4 images have 10000"):
        check_survey(told(patches=patches, sizes=sizes))


@pytest.mark.parametrize("layers", [(), ("layer9999999999",), ("stem",)])
def test_layers_that_no_network_has_cost_nothing(layers: tuple[str, ...]) -> None:
    odd = FeatureSpace(**{**space().__dict__, "layers": layers})
    facts = SpaceFacts(**odd.to_json())
    with pytest.raises(MalformedReplyError, match="expected some of"):
        check_survey(told().model_copy(update={"feature_space": facts}))


def test_a_fingerprint_that_is_not_that_of_the_facts() -> None:
    facts = SpaceFacts(**{**space().to_json(), "fingerprint": "0" * 64})
    with pytest.raises(MalformedReplyError, match="does not belong to the facts"):
        check_survey(told().model_copy(update={"feature_space": facts}))


def test_who_contradicts_itself_is_refused_before_anything_is_planned() -> None:
    odd = told(patches=7).model_copy(update={"station": "odd"})
    asked = roster(survey("a"), survey("b"), odd)
    admit(asked)
    assert [(p.name, p.status) for p in asked.all()] == [
        ("a", "used"), ("b", "used"), ("odd", "refused"),
    ]  # fmt: skip
    assert "sent an unusable survey: category clip: 7 patches" in (asked.by_node[98].reason or "")


# ----------------------------------------------------------------------------- bounds in bytes


def test_most_bytes_of_rows() -> None:
    # Two banks in 3 parts: ceil(1000 / 3) + ceil(400 / 3) = 334 + 134 rows of 50 float16.
    exactly = (334 + 134) * 50 * 2
    most = most_row_bytes({"a": 1000, "b": 400}, 3, (50, "float16"))
    # Headers come on top, and little else.
    assert exactly + 2 * 128 <= most <= 1.2 * exactly


def test_most_bytes_of_counts_grow_with_the_pixels_and_end_somewhere() -> None:
    nobody = told(test=0, test_sizes=[])
    assert most_count_bytes(nobody) == 0
    small, large = (
        most_count_bytes(told()),
        most_count_bytes(
            told(test=10**6, test_sizes=[SizeCount(height=10_000, width=10_000, images=10**6)])
        ),
    )
    assert small < large == COUNTS_BYTES


def counted(pixels: tuple[int, int] = (8, 8), score: float = 1.0) -> EvaluationCounts:
    made = EvaluationCounts()
    mask = np.zeros(pixels, dtype=bool)
    mask[0, :2] = True
    map_ = np.ones(pixels, dtype=np.float32)
    made.update(map_, [], label=0, score=score, defect_type="good")
    made.update(map_, [Region(mask, "hole", 2.0)], label=1, score=score, defect_type="hole")
    return made


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (counted(), None),
        (counted((8, 9)), "144 pixels, its test images have 128"),
        (counted((8, 7)), "112 pixels, its test images have 128"),
        (counted(score=-0.5), "a score below 0"),
    ],
)
def test_every_pixel_of_a_test_image_is_counted_once(
    found: EvaluationCounts, says: str | None
) -> None:
    own = survey("a").model_copy(update={"categories": {"clip": counts(0, 0, held_out=0, test=2)}})
    reply = ScoreReply(
        station="a",
        categories={"clip": CategoryScores(test=2, held_out_scores=[])},
        without_bank=[],
        radius={},
        seconds=0.0,
        extracted=0,
    )
    arrays = {f"clip/{name}": array for name, array in found.to_arrays().items()}
    assert sum(array.nbytes + 128 for array in arrays.values()) <= most_count_bytes(own)
    if says is None:
        check_score_reply(reply, arrays, own, banks=["shared"], score_images=True)
        return
    with pytest.raises(MalformedReplyError, match="counts of category clip") as error:
        check_score_reply(reply, arrays, own, banks=["shared"], score_images=True)
    assert says in str(error.value)


def test_a_radius_of_a_bank_that_was_not_sent() -> None:
    reply = ScoreReply(
        station="a",
        categories={"screw": CategoryScores(test=0, held_out_scores=[1.0])},
        without_bank=[],
        radius={"other": 1.0},
        seconds=0.0,
        extracted=0,
    )
    with pytest.raises(MalformedReplyError, match="a radius of bank 'other'"):
        check_score_reply(reply, {}, survey("a"), banks=["shared"], score_images=False)
