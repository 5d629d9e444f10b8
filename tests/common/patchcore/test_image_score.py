"""Image scores: each against a slow obvious twin, from hand-worked numbers to odd banks."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.config import Settings
from common.errors import InputError
from common.patchcore.anomaly_map import AnomalyScorer
from common.patchcore.image_score import NEIGHBOURS, Evidence, find_image_score
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.names import check_names

SCORES = ["max", "99.5", "top-1", "reweighted"]


def of_map(anomaly_map: NDArray[np.float32]) -> Evidence:
    """Evidence of which only the map matters."""
    nothing = np.zeros((1, 1))
    bank = MemoryBank(np.zeros((1, 1), dtype=np.float32))
    return Evidence(anomaly_map, nothing, nothing.astype(np.int64), nothing[..., None], bank)


def twin_top(values: list[float], percent: str) -> float:
    """Sort, count by decimal arithmetic, add up one by one."""
    count = max(1, int(Decimal(len(values)) * Decimal(percent) / 100))
    return math.fsum(sorted(values, reverse=True)[:count]) / count


def twin_reweighted(rows: NDArray[np.float32], features: NDArray[np.float32]) -> float:
    """Section 3.3 of the paper as it stands, one distance at a time."""
    bank = [[float(x) for x in row] for row in rows]
    patches = [[float(x) for x in patch] for line in features for patch in line]
    farthest, patch, closest = -1.0, patches[0], 0
    for one in patches:
        distances = [math.dist(one, row) for row in bank]
        if min(distances) > farthest:
            farthest, patch, closest = min(distances), one, distances.index(min(distances))
    if len(bank) == 1:
        return farthest
    order = sorted(range(len(bank)), key=lambda i: (math.dist(bank[closest], bank[i]), i))
    neighbours = [bank[i] for i in order[:NEIGHBOURS]]
    total = math.fsum(math.exp(math.dist(patch, row)) for row in neighbours)
    return (1 - math.exp(farthest) / total) * farthest


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    percent=st.sampled_from(["0.001", "0.29", "1", "7", "12.5", "29", "33.3", "57", "99.9", "100"]),
    levels=st.sampled_from([2, 5, 10**6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_mean_of_the_highest_pixels_equals_its_slow_twin(
    shape: tuple[int, int], percent: str, levels: int, seed: int
) -> None:
    drawn = np.random.default_rng(seed).integers(0, levels, shape)  # with ties
    picture = (drawn / levels).astype(np.float32)
    before = picture.copy()
    found = find_image_score(f"top-{percent}")(of_map(picture))
    assert found == pytest.approx(twin_top(picture.ravel().tolist(), percent), rel=1e-12, abs=1e-15)
    np.testing.assert_array_equal(picture, before)
    assert found <= float(picture.max())


def test_how_many_pixels_are_the_highest_percents() -> None:
    picture = np.arange(100, dtype=np.float32).reshape(4, 25)
    for name, value in (
        ("top-1", 99.0),  # one pixel of 100
        ("top-0.5", 99.0),  # half a pixel: at least one
        ("top-1.99", 99.0),  # never more than the percent allows
        ("top-2", 98.5),
        # In floats 29 / 100 x 100 is 28.999..., and 29 are 71 to 99.
        ("top-29", 85.0),
        ("top-100", 49.5),
    ):
        assert find_image_score(name)(of_map(picture)) == value


@settings(max_examples=100, deadline=None)
@given(
    m=st.sampled_from([1, 2, 3, 8, 9, 10, 30]),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dtype=st.sampled_from([np.float16, np.float32]),
    copies=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_reweighted_score_equals_its_slow_twin(
    m: int, grid: tuple[int, int], dtype: type[np.floating], copies: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((m, 5)).astype(np.float16).astype(np.float32)
    if copies:
        rows = rows[rng.integers(0, m, m)]
    features = rng.standard_normal((*grid, 5)).astype(np.float16).astype(dtype)
    scorer = AnomalyScorer(MemoryBank(rows), score="reweighted")
    evidence = scorer.evidence(features, (24, 32))
    found, farthest = scorer.image_score(evidence), float(evidence.patch_distances.max())
    wanted = twin_reweighted(rows, features.astype(np.float32))
    assert found == pytest.approx(wanted, rel=1e-9)
    around = min(m, NEIGHBOURS)
    least = farthest if around == 1 else (1 - 1 / around) * farthest
    assert least * (1 - 1e-12) <= found <= farthest


def test_the_reweighted_score_by_hand() -> None:
    # Patches 1 and 3 lie at 1 and 2 from the bank {0, 5}: of the latter d* = 2, m* = 5, and the
    # distances to m* and the other row are 2 and 3: (1 - e^2 / (e^2 + e^3)) x 2.
    scorer = AnomalyScorer(MemoryBank(np.array([[0], [5]], dtype=np.float32)), score="reweighted")
    features = np.array([[[1], [3]]], dtype=np.float32)
    wanted = (1 - 1 / (1 + math.e)) * 2
    assert scorer.image_score(scorer.evidence(features, (8, 16))) == pytest.approx(wanted)


@pytest.mark.filterwarnings("error")
def test_far_rows_overflow_no_exponential() -> None:
    # e^1000 is beyond float64; the neighbour is 1000 away, m* 10: the weight is 1 - e^-990.
    scorer = AnomalyScorer(MemoryBank(np.array([[0], [990]], np.float32)), score="reweighted")
    found = scorer.evidence(np.full((1, 1, 1), -10, dtype=np.float32), (8, 8))
    assert scorer.image_score(found) == 10.0
    # Both 2000 away: (1 - 1/2) x 2000.
    scorer = AnomalyScorer(MemoryBank(np.array([[2000], [2000]], np.float32)), score="reweighted")
    found = scorer.evidence(np.zeros((1, 1, 1), dtype=np.float32), (8, 8))
    assert scorer.image_score(found) == 1000.0


def test_only_the_score_that_needs_it_searches_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    plain = MemoryBank.nearest

    def counted(self: MemoryBank, queries: NDArray[np.float32], k: int = 1) -> object:
        asked.append((len(queries), k))
        return plain(self, queries, k)

    monkeypatch.setattr(MemoryBank, "nearest", counted)
    rng = np.random.default_rng(0)
    bank = MemoryBank(rng.standard_normal((20, 4)).astype(np.float32))
    features = rng.standard_normal((3, 4, 4)).astype(np.float32)
    for score in SCORES:
        scorer = AnomalyScorer(bank, score=score)
        scorer.image_score(scorer.evidence(features, (24, 32)))
        assert asked == [(12, 1), (1, 9)][: 1 + (score == "reweighted")]
        asked.clear()


@pytest.mark.parametrize(
    "name",
    ["top-0", "top-0.0", "top-100.1", "top-101", "top-", "top--1", "top-1e1", "top-nan", "top-x",
     "top-1%", "top- 1", "top-1/2", "top-\u0661"],
)  # fmt: skip
def test_no_share_of_pixels_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError) as refused:
        check_names(Settings(image_score=name))
    assert str(refused.value) == (
        f"setting image-score: found {name!r}, expected top-P with P above 0 and at most 100, as "
        '"top-1"'
    )
