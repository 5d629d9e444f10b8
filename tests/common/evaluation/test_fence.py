"""Scores beyond the fence: set aside, said, and never against the promise or the bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.evaluation import (
    EvaluationCounts,
    StationScores,
    calibrate_threshold,
    merge_thresholds,
)
from common.evaluation.held_out.fence import fence_of, within_fence
from common.evaluation.judge import conclude

INSIDE = 0.85 * 0.05


def test_one_bad_picture_no_longer_sets_the_threshold() -> None:
    """Bottle: a score of 3.19 among good ones up to 1.5."""
    good = np.linspace(1.2, 1.5, 39)
    found = calibrate_threshold([*good, 3.19], 0.05, fenced=True)
    clean, plain = calibrate_threshold(good, 0.05), calibrate_threshold([*good, 3.19], 0.025)
    assert found is not None
    assert clean is not None
    assert plain is not None
    assert plain.value == 3.19
    assert (found.value, found.promised_false_alarm_rate) == (clean.value, 2 / 40)
    assert (found.held_out_images, found.suspicious_held_out) == (39, 1)
    assert "computed without 1 of 40" in found.note
    assert "(3.19)" in found.note
    # Third highest of 41 places, were it good.
    assert "7.32 % in all" in found.note


def test_without_a_fence_nothing_changes_and_too_few_have_none() -> None:
    few = [1.0, 1.1, 1.2, 1.3, 1.2, 1.1, 50.0]
    assert fence_of(few) is None
    found = calibrate_threshold(few, 0.05, fenced=True)
    assert found == calibrate_threshold(few, 0.05)
    assert fence_of([1.0] * 30 + [2.0, 3.0]) is None  # ties tell of no spread
    scores = np.random.default_rng(0).normal(5, 1, 60)
    plain, fenced = (calibrate_threshold(scores, 0.05, fenced=f) for f in (False, True))
    assert plain is not None
    assert fenced is not None
    assert (plain.value, plain.note) == (fenced.value, fenced.note)
    assert (plain.fence, fenced.suspicious_held_out) == (None, 0)
    assert fenced.fence == fence_of(scores)


def draw(law: str, rng: np.random.Generator, count: int) -> np.ndarray:
    z = rng.standard_normal(count)
    return 5 + z if law == "normal" else np.exp((0.25 if law == "lognormal" else 0.5) * z)


@pytest.mark.parametrize(
    ("law", "beyond", "more"),
    [("normal", 0.002, 0.004), ("lognormal", 0.008, 0.008), ("heavy", 0.02, 0.02)],
)
@pytest.mark.parametrize("count", [20, 60])
def test_honest_scores_keep_the_promise_but_for_what_lies_beyond(
    law: str, beyond: float, more: float, count: int
) -> None:
    """4,000 draws: of all new parts at most the promise and the share beyond the fence.

    What lies beyond is so rare that it hardly matters, but for skewed scores of few images: 10,000
    draws of 20 gave 0.1, 0.6 and 1.6 % beyond, and 4.9, 5.3 and 6.3 % of alarms for 4.8 promised.
    """
    rng, alarms, share, promised = np.random.default_rng(1), 0.0, 0.0, 0.0
    for _ in range(4000):
        scores, new = draw(law, rng, count), draw(law, rng, 50)
        found = calibrate_threshold(scores, 0.05, fenced=True)
        assert found is not None
        assert found.fence is not None
        alarms += float(np.mean(new > found.value)) / 4000
        share += float(np.mean(new > found.fence)) / 4000
        promised += found.promised_false_alarm_rate / 4000
    assert share <= beyond
    assert alarms <= promised + more
    assert alarms <= promised + share + 0.002


def test_the_merged_promise_is_kept_with_fences() -> None:
    rng, sizes, alarms = np.random.default_rng(2), (8,) * 5, 0.0
    promised = 0.0
    for _ in range(1500):
        held_out = {f"s{i}": draw("normal", rng, n).tolist() for i, n in enumerate(sizes)}
        found = merge_thresholds(held_out, 0.05, fenced=True)
        assert found is not None
        alarms += float(np.mean(draw("normal", rng, 100) > found.value)) / 1500
        promised += found.promised_false_alarm_rate / 1500
    assert alarms <= 1.1 * promised


words = st.lists(st.floats(0, 1e30), min_size=1, max_size=60) | st.just([0.0] * 500)


@given(
    honest=st.lists(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=12), min_size=2, max_size=6),
    lie=words,
    place=st.integers(0, 6),
)
def test_no_word_of_one_station_passes_the_bound_with_fences(
    honest: list[list[float]], lie: list[float], place: int
) -> None:
    others = {f"h{i}": own for i, own in enumerate(honest)}
    found = merge_thresholds({**others, f"h{place}x": lie}, 0.05, fenced=True)
    assert found is not None
    alone = []
    for out in others:
        scores = [s for name, own in others.items() if name != out for s in own]
        left = calibrate_threshold(scores, INSIDE, fenced=True)
        assert left is not None
        alone.append(left.value)
    assert min(alone) <= found.value <= max(alone)


def test_whose_they_are_is_told_and_the_audits_word_too() -> None:
    rng = np.random.default_rng(3)
    stations = {f"s{i}": StationScores(rng.normal(5, 0.2, 8).tolist()) for i in range(4)}
    stations["s2"] = StationScores([*stations["s2"].held_out, 20.0], suspected=1)
    held = [s for own in stations.values() for s in own.held_out]
    found = conclude("clip", EvaluationCounts(), held, 0.05, stations=stations, fenced=True)
    assert found.beyond_fence == {"s2": 1}
    assert found.threshold is not None
    assert found.threshold.value < 6
    assert "The audit suspects 1 held-out image (1 at s2)" in found.threshold.note
    assert 20.0 not in (found.held_out or ())
    assert any("1 held-out image at s2 scored beyond" in text for text in found.remarks())
    off = conclude("clip", EvaluationCounts(), held, 0.05, stations=stations)
    assert off.beyond_fence == {}
    assert "audit" not in (off.threshold.note if off.threshold else "")


def test_what_is_kept_is_three_quarters_at_least() -> None:
    rng = np.random.default_rng(4)
    for count in (8, 9, 20, 101):
        divided = within_fence(np.exp(3 * rng.standard_normal(count)))
        assert divided.kept.size >= 0.75 * count
        assert divided.kept.size + divided.beyond.size == count
