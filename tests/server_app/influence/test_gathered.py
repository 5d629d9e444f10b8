"""Whose the rows are, as stations hear it; what they answer is looked at before it is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from server_cases import counts, survey

from common.evaluation import EvaluationCounts
from common.evaluation.mergeable.owner_scores import ARRAY_NAMES
from common.protocol.messages import CategoryScores, ScoreReply
from common.protocol.records import HEADER_BYTES, MalformedReplyError
from server_app.influence import gathered as module
from server_app.influence.copies import Copies
from server_app.influence.gathered import Gathered

OWNERS = {
    "clip": np.array(["a", "b", "a"]),
    # Names of other lengths: no array may cut another's short.
    "wire": np.array(["quality-control", "b", "c", "quality-control"]),
}
TOLD = {"clip": counts(5, 50, held_out=2, test=3)}
SURVEY = survey("a").model_copy(update={"categories": TOLD})


def drawn(shared: bool = True) -> tuple[Gathered, dict[str, NDArray[np.uint16]]]:
    asked = Gathered()
    return asked, asked.draw(OWNERS, shared, [SURVEY])


@pytest.mark.parametrize("shared", [True, False])
def test_numbers_stand_for_the_stations_that_brought_rows(shared: bool) -> None:
    asked, sent = drawn(shared)
    assert sorted(asked.numbers) == ["a", "b", "c", "quality-control"]
    assert sorted(asked.numbers.values()) == [0, 1, 2, 3]
    for bank, whose in sent.items():
        assert whose.dtype == np.uint16
        assert whose.tolist() == [asked.numbers[name] for name in OWNERS[bank].tolist()]
    banks = ["shared"] if shared else ["clip", "wire"]
    assert sorted(asked.columns) == banks
    for bank, names in asked.columns.items():
        held = set(np.concatenate([own for b, own in OWNERS.items() if shared or b == bank]))
        assert set(names) == held
        assert [asked.numbers[name] for name in names] == sorted(
            asked.numbers[name] for name in names
        )


def test_they_are_drawn_anew_for_each_run() -> None:
    assert len({tuple(drawn()[0].numbers.values()) for _ in range(60)}) > 5


def test_nobody_is_asked_where_one_station_brought_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Gathered()
    assert asked.draw({"clip": np.array(["a", "a"])}, True, [SURVEY]) == {}
    assert asked.columns_of("clip") == ()
    assert "1 station" in str(asked.unasked)
    # Who would answer too much is not asked, and the others are.
    monkeypatch.setattr(module, "MOST_BYTES", 2000)
    asked, sent = drawn()
    assert asked.unasked is None
    assert set(sent) == set(OWNERS)
    assert asked.too_large == {"a": asked.most_bytes(SURVEY)}


HELD, GOOD, BAD = [1.0, 1.5], [0.5, 0.9], [3.0]


def judged_images() -> EvaluationCounts:
    made = EvaluationCounts()
    for label, scores in ((0, GOOD), (1, BAD)):
        for score in scores:
            made.update(np.zeros((4, 4)), None, label=label, score=score, defect_type="hole")
    return made


def arrays(**changes: Any) -> dict[str, NDArray[Any]]:
    own = {
        "held-out": np.array([[1.0, 1.2, 1.0, 1.0], [1.5, 1.5, 1.9, 1.5]]),
        "good": np.array([[0.5, 0.5, 0.5, 0.6], [0.9, 0.9, 0.9, 0.9]]),
        "defective": np.array([[3.0, 3.0, 9.0, 3.0]]),
        "nearest": np.array([5, 0, 3, 2]),
        **changes,
    }
    return {f"clip/{name}": array for name, array in own.items() if array is not None}


def read(sent: dict[str, NDArray[Any]], **scores: Any) -> Any:
    asked, _ = drawn()
    told = {"test": 3, "held_out_scores": HELD, **scores}
    reply = ScoreReply(
        station="a",
        categories={"clip": CategoryScores(**told)},
        without_bank=[],
        radius={},
        seconds=0.1,
        extracted=0,
    )
    return asked.read(reply, sent, {"clip": judged_images()})


def test_what_was_asked_for_passes_and_keeps_within_the_stated_bytes() -> None:
    found = read(arrays())["clip"]
    for name in ARRAY_NAMES:
        np.testing.assert_array_equal(found.to_arrays()[name], arrays()[f"clip/{name}"])
    size = sum(array.nbytes + HEADER_BYTES for array in arrays().values())
    assert size == drawn()[0].most_bytes(SURVEY)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"held-out": np.array([[1.0, 1.2, 0.9, 1.0], [1.5] * 4])}, "below the score with all"),
        ({"good": np.full((2, 4), np.nan)}, "good: a score that is not finite"),
        ({"good": np.full((2, 4), np.inf)}, "good: a score that is not finite"),
        ({"defective": np.full((1, 4), 1e31)}, "defective: a score above any distance"),
        ({"defective": np.full((1, 3), 9.0)}, r"shape \(1, 3\), expected float64 of \(1, 4\)"),
        ({"defective": np.full((2, 4), 9.0)}, r"shape \(2, 4\), expected float64 of \(1, 4\)"),
        ({"held-out": np.full((2, 4), 9, dtype=np.float32)}, "held-out: float32"),
        ({"nearest": np.array([5, 0, 3, -2])}, "nearest: int64"),
        ({"nearest": np.array([5.0, 0, 3, 2])}, "nearest: float64"),
        ({"nearest": np.array([5, 0, 3])}, r"nearest: int64 of shape \(3,\)"),
        ({"nearest": None}, "arrays .*'held-out'.*, expected"),
        ({"more": np.zeros(1)}, "arrays .*'more'.*, expected"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(MalformedReplyError, match=says):
        read(arrays(**changes))


def test_all_categories_and_no_others() -> None:
    with pytest.raises(MalformedReplyError, match=r"of \[\]; expected of \['clip'\]"):
        read({})
    with pytest.raises(MalformedReplyError, match=r"of \['clip', 'hook'\]; expected of"):
        read({**arrays(), "hook/good": np.zeros((1, 4))})


def test_rows_that_two_sent_alike_are_counted_for_both_and_of_old_ones_for_who_sends_them() -> None:
    rows = np.arange(24, dtype=np.float16).reshape(6, 4)
    found = Copies()
    found.look({"a": rows[:3], "b": rows[2:5], "c": rows[5:]}, {})
    assert found.shared == {"a": 1, "b": 1, "c": 0}
    found.look({"a": rows[:1], "c": rows[:2]}, {"a": rows[:3], "b": rows[5:]})
    assert found.shared == {"a": 2, "b": 1, "c": 2}
    assert found.with_whom["c"].most_common() == [("a", 2)]
    found.look({}, {"a": rows})  # a bank of which nobody delivered a row
    found.look({"a": rows[:0]}, {})
    assert found.shared == {"a": 2, "b": 1, "c": 2}
