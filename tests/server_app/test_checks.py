"""What cannot be what was asked for is refused, saying what was found and what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from server_cases import counts, survey

from common.data.regions import Region
from common.evaluation import EvaluationCounts
from common.protocol.messages import (
    BankFacts,
    BuildReply,
    CategoryScores,
    ScoreReply,
    part_of_rows,
)
from common.protocol.records import MalformedReplyError
from server_app.checks import check_build_reply, check_score_reply

DIM = 4


def build_reply(**changes: Any) -> BuildReply:
    facts = {"patches": 100, "rows": 6, "radius": 1.5, **changes}
    return BuildReply(station="a", banks={"shared": BankFacts(**facts)}, seconds=0.1, extracted=3)


def check_rows(
    reply: BuildReply,
    rows: NDArray[Any],
    part: int = 0,
    parts: int = 1,
    name: str = "shared",
    first: bool = False,
) -> None:
    check_build_reply(
        reply,
        {name: rows},
        station="a",
        budgets={"shared": 6},
        patches={"shared": 100},
        shape=(DIM, "float16"),
        part=part,
        parts=parts,
        first=first,
    )


def good_rows(count: int = 6) -> NDArray[np.float16]:
    return np.arange(count * DIM, dtype=np.float16).reshape(count, DIM)


def with_value(value: float) -> NDArray[np.float16]:
    rows = good_rows()
    rows[3, 2] = value
    return rows


def test_rows_as_asked_for_pass() -> None:
    check_rows(build_reply(), good_rows())
    check_rows(build_reply(rows=2), good_rows(2))  # fewer than the budget is allowed


@given(rows=st.integers(0, 6), parts=st.integers(1, 4))
def test_every_part_of_a_bank_passes_and_no_other_number_of_rows(rows: int, parts: int) -> None:
    for part in range(parts):
        expected = len(part_of_rows(range(rows), part, parts))
        check_rows(build_reply(rows=rows), good_rows(expected), part, parts)
        with pytest.raises(MalformedReplyError, match="rows of shape"):
            check_rows(build_reply(rows=rows), good_rows(expected + 1), part, parts)


@pytest.mark.parametrize(
    ("reply", "rows", "says"),
    [
        (build_reply(rows=7), good_rows(7), "7 rows, above its budget of 6"),
        (build_reply(), good_rows(7), r"shape \(7, 4\), expected float16 of shape \(6, 4\)"),
        (build_reply(), good_rows()[:, :3], r"shape \(6, 3\), expected float16"),
        (build_reply(), good_rows().ravel(), r"shape \(24,\), expected float16"),
        (build_reply(), good_rows().astype(np.float32), "float32 rows .*, expected float16"),
        (build_reply(), good_rows().astype(">f2"), "expected float16"),
        (build_reply(), with_value(np.nan), "not finite"),
        (build_reply(), with_value(np.inf), "not finite"),
        (build_reply(patches=99), good_rows(), "99 patches, the survey said 100"),
    ],
)
def test_unusable_rows(reply: BuildReply, rows: NDArray[Any], says: str) -> None:
    with pytest.raises(MalformedReplyError, match=says):
        check_rows(reply, rows)


def test_a_radius_that_cannot_be() -> None:
    """No patch left lies farther from the rows than the last of them did from the first."""
    # The last row lies 20 from the first in each of 4 dimensions: 40.
    for radius in (0.0, 39.9, 40.0):
        check_rows(build_reply(radius=radius), good_rows(), first=True)
    for radius in (43.0, 1e300 ** (1 / 11)):
        with pytest.raises(MalformedReplyError, match=r"rows lie at most 42.* from the first"):
            check_rows(build_reply(radius=radius), good_rows())
    check_rows(build_reply(rows=1, radius=1e6), good_rows(1))  # one row alone bounds nothing
    for wrong in (1e300, -1.0, float("inf")):
        with pytest.raises(ValidationError):
            build_reply(radius=wrong)


def test_no_row_where_rows_were_asked_for() -> None:
    empty = good_rows(0)
    check_rows(build_reply(rows=0), empty)  # in later rounds nothing may be new
    with pytest.raises(MalformedReplyError, match="no row of 100 patches, 6 were asked for"):
        check_rows(build_reply(rows=0), empty, first=True)


def test_another_station_or_bank_than_asked() -> None:
    other = build_reply().model_copy(update={"station": "b"})
    with pytest.raises(MalformedReplyError, match="answered as 'b', was asked as 'a'"):
        check_rows(other, good_rows())
    with pytest.raises(MalformedReplyError, match=r"banks \['clip'\]; asked for \['shared'\]"):
        check_rows(build_reply(), good_rows(), name="clip")


# ---------------------------------------------------------------------------------- counts


def counts_of(images: int) -> EvaluationCounts:
    """Good and defective images in turn."""
    made = EvaluationCounts()
    for number in range(images):
        rng = np.random.default_rng(number)
        mask = np.zeros((8, 8), dtype=bool)
        mask[:2, :2] = True
        defect = number % 2 == 1
        made.update(
            rng.random((8, 8), dtype=np.float32),
            [Region(mask, "hole", 4.0)] if defect else [],
            label=int(defect),
            score=float(number),
            defect_type="hole" if defect else "good",
        )
    return made


TOLD = {
    "clip": counts(5, 50, held_out=1, test=2),
    "wire": counts(0, 0, held_out=0, test=3),
    "hook": counts(4, 40, held_out=0, test=0),  # nothing to be judged
}
SURVEY = survey("a").model_copy(update={"categories": TOLD})


def score_reply(**changes: Any) -> ScoreReply:
    facts: dict[str, Any] = {
        "station": "a",
        "categories": {
            "clip": CategoryScores(test=2, held_out_scores=[1.0]),
            "wire": CategoryScores(test=3, held_out_scores=[]),
        },
        "without_bank": [],
        "radius": {"shared": 1.0},
        "seconds": 0.1,
        "extracted": 0,
    }
    return ScoreReply(**{**facts, **changes})


def arrays_for(**images: int) -> dict[str, NDArray[Any]]:
    return {
        f"{category}/{name}": array
        for category, count in images.items()
        for name, array in counts_of(count).to_arrays().items()
    }


def check_counts(
    reply: ScoreReply,
    arrays: dict[str, NDArray[Any]],
    banks: tuple[str, ...] = ("shared",),
    score_images: bool = True,
) -> dict[str, EvaluationCounts]:
    return check_score_reply(reply, arrays, SURVEY, banks=banks, score_images=score_images)


def test_counts_as_asked_for_pass_unchanged() -> None:
    found = check_counts(score_reply(), arrays_for(clip=2, wire=3))
    assert {name: counts.n_images for name, counts in found.items()} == {"clip": 2, "wire": 3}
    for name, array in counts_of(3).to_arrays().items():
        np.testing.assert_array_equal(found["wire"].to_arrays()[name], array)


def test_without_scoring_only_held_out_scores_come() -> None:
    reply = score_reply(
        categories={
            "clip": CategoryScores(test=0, held_out_scores=[1.0]),
            "wire": CategoryScores(test=0, held_out_scores=[]),
        }
    )
    assert check_counts(reply, {}, score_images=False) == {}
    with pytest.raises(MalformedReplyError, match="0 test images scored, expected 2"):
        check_counts(reply, {})


def test_radii_of_a_shared_bank_are_those_of_its_categories() -> None:
    told = score_reply(radius={"clip": 1.0, "wire": 2.0})
    arrays = arrays_for(clip=2, wire=3)
    own = {"banks": {"shared"}, "score_images": True}
    assert check_score_reply(told, arrays, SURVEY, parts=("clip", "wire"), **own)
    for parts in (None, ("clip",)):
        with pytest.raises(MalformedReplyError, match=r"a radius of bank '(clip|wire)', which was"):
            check_score_reply(told, arrays, SURVEY, parts=parts, **own)


def test_a_category_without_a_bank_must_be_named_as_such() -> None:
    only_clip = score_reply(
        categories={"clip": CategoryScores(test=2, held_out_scores=[1.0])},
        without_bank=["wire"],
        radius={"clip": 1.0},
    )
    assert set(check_counts(only_clip, arrays_for(clip=2), banks=("clip",))) == {"clip"}
    # With a bank that judges everything it is no excuse.
    with pytest.raises(MalformedReplyError, match=r"found no bank for \['wire'\]"):
        check_counts(only_clip, arrays_for(clip=2))


@pytest.mark.parametrize(
    ("changes", "images", "says"),
    [
        ({"station": "b"}, {"clip": 2, "wire": 3}, "answered as 'b'"),
        ({}, {"clip": 2, "wire": 2}, "counts of 2 images, 3 were scored"),
        ({}, {"clip": 2}, "counts of 0 images, 3 were scored"),
        ({}, {"clip": 2, "wire": 3, "bolt": 1}, "'bolt' was not in the survey"),
        (
            {"categories": {"clip": CategoryScores(test=2, held_out_scores=[1.0])}},
            {"clip": 2},
            r"judged \['clip'\] .*; expected \['clip', 'wire'\]",
        ),
        ({"without_bank": ["bolt"]}, {"clip": 2, "wire": 3}, "'bolt' was not in the survey"),
        (
            {
                "categories": {
                    "clip": CategoryScores(test=2, held_out_scores=[1.0, 2.0]),
                    "wire": CategoryScores(test=3, held_out_scores=[]),
                }
            },
            {"clip": 2, "wire": 3},
            "2 held-out scores, the survey said 1",
        ),
    ],
)
def test_unusable_counts(changes: dict[str, Any], images: dict[str, int], says: str) -> None:
    with pytest.raises(MalformedReplyError, match=says):
        check_counts(score_reply(**changes), arrays_for(**images))


def test_counts_that_contradict_themselves_are_refused_with_their_category() -> None:
    arrays = arrays_for(clip=2, wire=3)
    arrays["wire/images_score"] = arrays["wire/images_score"] * np.nan
    with pytest.raises(MalformedReplyError, match=r"counts of category wire: .*not finite"):
        check_counts(score_reply(), arrays)
    del arrays["wire/images_score"]
    with pytest.raises(MalformedReplyError, match="counts of category wire"):
        check_counts(score_reply(), arrays)
