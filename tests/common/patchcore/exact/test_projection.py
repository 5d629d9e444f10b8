"""Random projection: the same bits on every machine and for every block size."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from common.patchcore.exact.projection import project, random_projection


def test_matrix_is_the_same_everywhere() -> None:
    matrix = random_projection(64, 16, seed=42)
    assert matrix.dtype == np.float32
    assert set(np.unique(np.abs(matrix))) == {np.float32(0.25)}  # 1 / sqrt(16)
    signs = np.packbits(matrix.ravel() > 0).tobytes()
    assert hashlib.sha256(signs).hexdigest()[:16] == "a04d8a55122c2247"
    assert (random_projection(64, 16, seed=43) != matrix).any()


def test_distances_are_kept_in_expectation() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 300)).astype(np.float32)
    short = project(rows, random_projection(300, 128, seed=1))
    true = ((rows[:200] - rows[200:]) ** 2).sum(axis=1)
    kept = ((short[:200] - short[200:]) ** 2).sum(axis=1)
    # One ratio spreads by sqrt(2 / 128) = 12 %, the mean of 200 by about 1 %.
    assert abs((kept / true).mean() - 1) < 0.04
    assert np.abs(kept / true - 1).max() < 0.6


def test_every_element_is_the_rounded_exact_sum_whatever_the_blocks() -> None:
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((60, 200)) * 10.0 ** rng.integers(-6, 6, (60, 1))).astype(
        np.float32
    )
    rows[3] = 0
    matrix = random_projection(200, 7, seed=2)
    whole = project(rows, matrix)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(project(row[None], matrix)[0], whole[i])
        for j in range(7):
            exact = math.fsum(row.astype(float) * matrix[:, j].astype(float))
            assert whole[i, j] == np.float32(exact)
    out = np.empty((60, 7), np.float32)
    assert project(rows, matrix, out) is out
    np.testing.assert_array_equal(out, whole)


def test_misuse_is_refused() -> None:
    matrix = random_projection(4, 2, seed=0)
    with pytest.raises(ValueError, match="shape"):
        project(np.zeros((3, 5), np.float32), matrix)
    with pytest.raises(ValueError, match="non-finite"):
        project(np.full((1, 4), np.nan, np.float32), matrix)
    with pytest.raises(ValueError, match="positive"):
        random_projection(4, 0, seed=0)
