"""Anomaly maps: Euclidean distances at the image's size, the right way round, never rescaled."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.patchcore.anomaly_map import AnomalyScorer, render_map
from common.patchcore.memory_bank import MemoryBank

Array = NDArray[np.float64]


def bilinear_weights(n_out: int, n_in: int) -> Array:
    """Row i: how much each patch counts at pixel i, by the distance of the centres."""
    weights = np.zeros((n_out, n_in))
    for i in range(n_out):
        centre = max((i + 0.5) * n_in / n_out - 0.5, 0.0)
        low = min(int(centre), n_in - 1)
        high = min(low + 1, n_in - 1)
        weights[i, low] += 1 - (centre - low)
        weights[i, high] += centre - low
    return weights


def gaussian_weights(n: int, sigma: float) -> Array:
    """Row i: how much each pixel counts at pixel i; mirrored at the borders, 4 sigma wide."""
    radius = int(4 * sigma + 0.5)
    kernel = np.array([math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)])
    kernel /= kernel.sum()
    weights = np.zeros((n, n))
    for i in range(n):
        for k, value in zip(range(-radius, radius + 1), kernel, strict=True):
            j = (i + k) % (2 * n)
            weights[i, j if j < n else 2 * n - 1 - j] += value
    return weights


def twin(grid: Array, size: tuple[int, int], scale: float) -> Array:
    """Slow twin of `render_map`: two matrices a side; `scale` file pixels are a network pixel."""
    rows = gaussian_weights(size[0], 4 * scale) @ bilinear_weights(size[0], grid.shape[0])
    columns = gaussian_weights(size[1], 4 * scale) @ bilinear_weights(size[1], grid.shape[1])
    return rows @ grid @ columns.T


@settings(max_examples=30, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_maps_equal_the_slow_twin(grid: tuple[int, int], size: tuple[int, int]) -> None:
    distances = np.random.default_rng(0).random(grid).astype(np.float32)
    found = render_map(distances, size, 0)
    assert found.shape == size
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, twin(distances.astype(float), size, 1.0), atol=2e-5)


def test_smoothing_is_at_the_scale_that_the_network_saw() -> None:
    distances = np.random.default_rng(0).random((8, 12)).astype(np.float32)
    # A file of 128 x 192 seen with its shorter side at 64: two file pixels a network pixel.
    found = render_map(distances, (128, 192), 64)
    np.testing.assert_allclose(found, twin(distances.astype(float), (128, 192), 2.0), atol=2e-5)
    assert not np.allclose(found, render_map(distances, (128, 192), 0), atol=1e-3)


def test_constants_stay_and_nothing_is_rescaled() -> None:
    for value in (0.0, 3.5):
        flat = np.full((4, 6), value, dtype=np.float32)
        np.testing.assert_allclose(render_map(flat, (30, 50), 0), value, rtol=1e-6)
    distances = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    np.testing.assert_allclose(
        render_map(4 * distances, (30, 50), 0), 4 * render_map(distances, (30, 50), 0), rtol=1e-5
    )


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
@pytest.mark.parametrize("patch", [(1, 6), (6, 1)])
def test_a_patch_lies_where_it_was(size: tuple[int, int], patch: tuple[int, int]) -> None:
    grid = (size[0] // 8, size[1] // 8)
    distances = np.zeros(grid, dtype=np.float32)
    distances[patch] = 1
    peak = np.unravel_index(np.argmax(render_map(distances, size, 0)), size)
    assert peak[0] == pytest.approx(patch[0] * 8 + 3.5, abs=1)
    assert peak[1] == pytest.approx(patch[1] * 8 + 3.5, abs=1)


def test_a_scorer_takes_distances_to_the_nearest_row() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((7, 5)).astype(np.float32)
    features = rng.standard_normal((3, 4, 5)).astype(np.float16)
    scorer = AnomalyScorer(MemoryBank(rows))
    nearest = np.array(
        [[min(math.dist(f.astype(float), r) for r in rows) for f in line] for line in features]
    )
    found = scorer.anomaly_map(features, (24, 32))
    np.testing.assert_allclose(found, twin(nearest, (24, 32), 1.0), rtol=1e-4)
    assert scorer.anomaly_map(rows[None, :6], (8, 48)).max() == 0


def test_image_scores() -> None:
    bank = MemoryBank(np.zeros((1, 2), dtype=np.float32))
    picture = np.arange(101, dtype=np.float32).reshape(1, 101)
    known = AnomalyScorer(bank).evidence(np.zeros((1, 1, 2), dtype=np.float32), picture.shape)
    evidence = replace(known, anomaly_map=picture)
    assert AnomalyScorer(bank).image_score(evidence) == 100.0
    assert AnomalyScorer(bank, score="95.5").image_score(evidence) == pytest.approx(95.5)
    assert AnomalyScorer(bank, score="0").image_score(evidence) == 0.0


def test_evidence_is_the_search_itself_and_copies_no_feature() -> None:
    rng = np.random.default_rng(2)
    bank = MemoryBank(rng.standard_normal((7, 5)).astype(np.float32))
    features = rng.standard_normal((3, 4, 5)).astype(np.float16)
    found = AnomalyScorer(bank).evidence(features, (24, 32))
    distances, nearest = bank.nearest(features.astype(np.float32).reshape(12, 5))
    np.testing.assert_array_equal(found.patch_distances, distances.reshape(3, 4))
    np.testing.assert_array_equal(found.nearest, nearest.reshape(3, 4))
    assert found.features is features
    assert found.bank is bank
