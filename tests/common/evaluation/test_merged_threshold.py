"""The merged threshold: its slow twin, the bound that no liar passes, the promise that it keeps."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.evaluation import calibrate_threshold, merge_thresholds

Scores = dict[str, list[float]]
INSIDE = 0.85
"""Of the target, the rate that `T` goes by."""


def left_out(held_out: Scores, *without: str, rate: float) -> float:
    """The threshold of all but some stations, the plain way."""
    found = calibrate_threshold(
        [s for n, own in held_out.items() for s in own if n not in without], rate
    )
    assert found is not None
    return found.value


def twin(held_out: Scores, rate: float) -> float:
    """The definition, written out."""
    return max(
        min(left_out(held_out, i, other, rate=rate) for other in held_out if other != i)
        for i in held_out
    )


def plant(rng: np.random.Generator, sizes: tuple[int, ...]) -> Scores:
    return {f"s{i:03}": rng.gamma(9, size=n).tolist() for i, n in enumerate(sizes)}


SIZES = [(4,) * 5, (4, 4, 4), (1, 1, 1), (10,) * 5, (40, 10, 5, 5, 5), (1, 30, 2, 2), (3,) * 10]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("target", [0.05, 0.2])
def test_it_is_what_the_definition_says(sizes: tuple[int, ...], target: float) -> None:
    rng = np.random.default_rng(0)
    inside = INSIDE * target
    for _ in range(20):
        held_out = plant(rng, sizes)
        found = merge_thresholds(held_out, target)
        assert found is not None
        assert found.value == twin(held_out, inside)
        assert found.held_out_images == sum(sizes)


words = st.lists(st.floats(0, 1e30), min_size=1, max_size=60) | st.just([0.0] * 500)


@given(
    honest=st.lists(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=12), min_size=2, max_size=6),
    lie=words,
    place=st.integers(0, 6),
)
def test_no_word_of_one_station_passes_the_bound(
    honest: list[list[float]], lie: list[float], place: int
) -> None:
    """Smallest and largest of the thresholds of the honest ones, each left out once."""
    others = {f"h{i}": own for i, own in enumerate(honest)}
    name = f"h{place}x"
    found = merge_thresholds({**others, name: lie}, 0.05)
    assert found is not None
    # Of the honest words alone: neither the liar's scores nor how many they are play a part.
    alone = [left_out(others, other, rate=INSIDE * 0.05) for other in others]
    assert min(alone) <= found.value <= max(alone)


@pytest.mark.parametrize("sizes", [(4,) * 5, (20,) * 5, (60, 20, 20), (8,) * 10])
def test_the_promise_is_kept_on_average(sizes: tuple[int, ...]) -> None:
    """10,000 plants drawn: new good parts beyond the threshold, honest and with one liar."""
    rng = np.random.default_rng(1)
    draws = 10_000 // sum(sizes) * 10
    names = [f"s{i}" for i in range(len(sizes))]
    honest = loud = quiet = 0.0
    first = merge_thresholds(plant(rng, sizes), 0.05)
    assert first is not None
    assert first.promised_with_liar is not None
    for _ in range(draws):
        held_out = {n: rng.random(size).tolist() for n, size in zip(names, sizes, strict=True)}
        for kind, lie in (("honest", None), ("loud", 1e6), ("quiet", -1e6)):
            told = held_out if lie is None else {**held_out, "s0": [lie] * sizes[0]}
            found = merge_thresholds(told, 0.05)
            assert found is not None
            rate = 1.0 - found.value  # of uniform scores
            honest += rate * (kind == "honest") / draws
            loud += rate * (kind == "loud") / draws
            quiet += rate * (kind == "quiet") / draws
    assert honest == pytest.approx(first.promised_false_alarm_rate, rel=0.1)
    assert loud <= honest
    assert quiet <= first.promised_with_liar * 1.1
    assert first.promised_false_alarm_rate <= max(0.05, 2.5 / (sum(sizes) + 1))


def test_the_bound_of_one_draw_holds_in_95_of_100() -> None:
    rng, sizes = np.random.default_rng(2), (10,) * 5
    rates, bound = [], 0.0
    for _ in range(1000):
        found = merge_thresholds(
            {f"s{i}": rng.random(n).tolist() for i, n in enumerate(sizes)}, 0.05
        )
        assert found is not None
        rates.append(1.0 - found.value)
        bound = found.upper_false_alarm_rate
    inside = np.mean(np.asarray(rates) <= bound)
    assert 0.93 <= inside <= 0.97


def test_nothing_is_lost_where_there_are_many_images() -> None:
    rng = np.random.default_rng(3)
    merged, pooled = [], []
    for _ in range(200):
        held_out = plant(rng, (40,) * 5)
        scores = list(itertools.chain.from_iterable(held_out.values()))
        one, other = merge_thresholds(held_out, 0.05), calibrate_threshold(scores, 0.05)
        assert one is not None
        assert other is not None
        assert one.promised_false_alarm_rate <= 0.05
        merged.append(one.value)
        pooled.append(other.value)
    assert np.mean(merged) == pytest.approx(np.mean(pooled), rel=0.03)


def test_one_or_two_holders_are_not_protected_and_told_so() -> None:
    two = {"a": [1.0, 2.0], "b": [3.0], "c": []}
    found, pooled = merge_thresholds(two, 0.05), calibrate_threshold([1.0, 2.0, 3.0], 0.05)
    assert found is not None
    assert pooled is not None
    assert (found.value, found.promised_with_liar) == (pooled.value, None)
    assert "Only 2 stations held these out: what one of them says can move it." in found.note
    assert merge_thresholds({"a": [1.0, 2.0, 3.0]}, 0.05) == pooled
    assert merge_thresholds({}, 0.05) is None
    assert merge_thresholds({"a": []}, 0.05) is None


def test_what_is_told_of_the_promise() -> None:
    rng = np.random.default_rng(4)
    few, many = (
        merge_thresholds(plant(rng, (4,) * 5), 0.05),
        merge_thresholds(plant(rng, (40,) * 5), 0.05),
    )
    assert few is not None
    assert many is not None
    assert "20 held-out good images of 5 stations are too few for a false alarm rate of 5 %" in (
        few.note
    )
    assert "200 held-out good images of 5 stations support this" in many.note
    assert "if one of the 5 stations says wrong things" in many.note


def test_a_score_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        merge_thresholds({"a": [1.0], "b": [float("nan")], "c": [1.0]}, 0.05)
    with pytest.raises(ValueError, match="expected above 0 and below 1"):
        merge_thresholds({"a": [1.0], "b": [1.0], "c": [1.0]}, 1.0)


@pytest.mark.parametrize(("honest", "counts"), [(6, (2, 30)), (4, (1, 20)), (5, (1, 2000))])
def test_how_many_scores_a_liar_has_moves_nothing_either(
    honest: int, counts: tuple[int, int]
) -> None:
    """Wrongly moved: thirty high scores instead of two raised it by a third."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        others = {f"h{i}": rng.exponential(size=8).tolist() for i in range(honest)}
        alone = [left_out(others, other, rate=INSIDE * 0.05) for other in others]
        for count in counts:
            found = merge_thresholds({**others, "liar": [1e6] * count}, 0.05)
            assert found is not None
            assert min(alone) <= found.value <= max(alone)


def test_a_million_scores_cost_a_second() -> None:
    began = time.process_time()
    found = merge_thresholds(
        {"a": [1.0] * 40, "b": [1.0] * 40, "c": np.linspace(0, 1, 1_000_000).tolist()}, 0.05
    )
    assert found is not None
    assert time.process_time() - began < 10.0


def test_the_figures_of_the_documentation_are_what_comes_out() -> None:
    text = (Path(__file__).parents[3] / "docs" / "trust.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| (\d+) x (\d+) \| ([\d.]+) % \| ([\d.]+) % \| ([\d.]+) % \|", text)
    assert len(rows) == 7
    for stations, images, *told in rows:
        held_out = {f"s{i:02}": [float(i)] * int(images) for i in range(int(stations))}
        found = merge_thresholds(held_out, 0.05)
        assert found is not None
        assert found.promised_with_liar is not None
        rates = (found.promised_false_alarm_rate, found.upper_false_alarm_rate)
        shown = [f"{100 * rate:.1f}" for rate in (*rates, found.promised_with_liar)]
        assert shown == told, (stations, images)
