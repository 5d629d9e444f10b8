"""A local bank equals the obvious one that holds everything in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.patchcore import local_bank
from common.patchcore.exact.projection import random_projection
from common.patchcore.local_bank import (
    Distances,
    LocalBank,
    build_local_bank,
    covering_radius,
    row_budget,
)
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput, as_inputs

FULL, PROJECTED = Distances(0, 7), Distances(16, 7)


@pytest.fixture
def images(pictures: list[Path]) -> list[ImageInput]:
    return list(as_inputs(pictures))


@pytest.fixture
def source(extractor: FeatureExtractor, tmp_path: Path) -> FeatureSource:
    return FeatureSource(extractor, FeatureCache(tmp_path / "cache", 10**9))


def all_rows(extractor: FeatureExtractor, images: list[ImageInput], dtype: Any) -> NDArray[Any]:
    source = FeatureSource(extractor)
    return np.concatenate([f.reshape(-1, f.shape[-1]) for f in source.stream(images, dtype)])


def shortened(rows: NDArray[Any], distances: Distances) -> NDArray[np.float64]:
    """Rows in the space of the distances, as float32 numbers held in float64."""
    if distances.components == 0:
        return rows.astype(np.float64)
    matrix = random_projection(rows.shape[1], distances.components, distances.seed)
    return (rows.astype(np.float64) @ matrix.astype(np.float64)).astype(np.float32).astype(float)


def greedy(
    rows: NDArray[np.float64], size: int, first: int | None, known: NDArray[np.float64] | None
) -> tuple[list[int], list[float]]:
    """Farthest first in float64, one row at a time; the lowest index wins a tie."""
    gaps = np.full(len(rows), np.inf)
    for row in () if known is None else known:
        gaps = np.minimum(gaps, np.linalg.norm(rows - row, axis=1))
    chosen, radii = [], []
    for _ in range(size):
        index = int(np.argmax(gaps)) if first is None or chosen else first
        chosen.append(index)
        gaps = np.minimum(gaps, np.linalg.norm(rows - rows[index], axis=1))
        radii.append(float(gaps.max()))
    return chosen, radii


@pytest.mark.parametrize("distances", [FULL, PROJECTED])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_local_bank_equals_the_slow_twin(
    source: FeatureSource, images: list[ImageInput], distances: Distances, dtype: Any
) -> None:
    rows = all_rows(source.extractor, images, dtype)
    first = int(np.random.default_rng(7).integers(len(rows)))
    chosen, radii = greedy(shortened(rows, distances), 20, first, None)
    bank = build_local_bank(source, images, 20, distances, dtype)
    assert bank.patches == len(rows) == 5 * 35 + 30
    assert bank.rows.dtype == dtype
    np.testing.assert_array_equal(bank.rows, rows[chosen])
    np.testing.assert_allclose(bank.radii, radii, rtol=1e-9)
    assert source.computed == len(images)


def test_a_smaller_budget_is_a_prefix(source: FeatureSource, images: list[ImageInput]) -> None:
    whole = build_local_bank(source, images, 30, PROJECTED)
    part = build_local_bank(source, images, 11, PROJECTED)
    np.testing.assert_array_equal(part.rows, whole.rows[:11])
    np.testing.assert_array_equal(part.radii, whole.radii[:11])
    assert (np.diff(whole.radii) <= 0).all()
    assert source.computed == len(images)


def test_the_bank_does_not_depend_on_the_cache(
    extractor: FeatureExtractor, source: FeatureSource, images: list[ImageInput]
) -> None:
    wanted = build_local_bank(source, images, 12, PROJECTED)
    for other in (FeatureSource(extractor), FeatureSource(extractor, batch_size=1, workers=1)):
        found = build_local_bank(other, images, 12, PROJECTED)
        np.testing.assert_array_equal(found.rows, wanted.rows)


def test_rows_that_waited_in_files_are_the_same(
    source: FeatureSource,
    images: list[ImageInput],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = build_local_bank(FeatureSource(source.extractor), images, 12, PROJECTED)
    fetched: list[int] = []
    rest = source.rest

    def note_rest() -> None:
        # By now every image has gone through the network, and all rows are on the disk.
        fetched.append(len(list(source.cache.folder.glob("*projected-16-7/*.npy"))))  # type: ignore[union-attr]
        rest()

    monkeypatch.setattr(source, "rest", note_rest)
    for worth in (1, 1 << 30):
        monkeypatch.setattr(local_bank, "_WORTH_WAITING", worth)
        found = build_local_bank(source, images, 12, PROJECTED)
        np.testing.assert_array_equal(found.rows, wanted.rows)
        np.testing.assert_array_equal(found.radii, wanted.radii)
    assert fetched == [len(images)] * 2
    assert source.computed == len(images)


def test_settings_change_the_choice(source: FeatureSource, images: list[ImageInput]) -> None:
    def chosen(distances: Distances) -> bytes:
        return build_local_bank(source, images, 12, distances).rows.tobytes()

    kinds = (FULL, PROJECTED, Distances(16, 8), Distances(8, 7))
    assert len({chosen(distances) for distances in kinds}) == 4


def test_a_projection_of_all_dimensions_is_none() -> None:
    rows = np.random.default_rng(0).standard_normal((5, 12)).astype(np.float32)
    for distances in (Distances(0, 1), Distances(12, 1), Distances(99, 1)):
        assert distances.matrix(12) is None
        np.testing.assert_array_equal(distances(rows), rows)
    assert Distances(4, 1)(rows).shape == (5, 4)


@pytest.mark.parametrize("distances", [FULL, PROJECTED])
def test_with_centers_only_what_lies_far_from_them_is_chosen(
    source: FeatureSource, images: list[ImageInput], distances: Distances
) -> None:
    rows = all_rows(source.extractor, images, np.float16)
    centers = build_local_bank(source, images[:2], 10, distances).rows
    known = shortened(centers, distances)
    chosen, radii = greedy(shortened(rows, distances), 15, None, known)
    bank = build_local_bank(source, images, 15, distances, centers=centers)
    np.testing.assert_array_equal(bank.rows, rows[chosen])
    np.testing.assert_allclose(bank.radii, radii, rtol=1e-9)
    # Stop as soon as everything lies within the radius that nine rows leave.
    near = build_local_bank(source, images, 15, distances, centers=centers, stop_radius=radii[8])
    np.testing.assert_array_equal(near.rows, rows[chosen[:9]])
    none = build_local_bank(source, images, 15, distances, centers=centers, stop_radius=1e9)
    assert none.rows.shape == (0, 384)
    assert len(none.radii) == 0
    assert none.patches == len(rows)


@pytest.mark.parametrize("distances", [FULL, PROJECTED])
def test_the_covering_radius_is_that_of_brute_force(
    source: FeatureSource, images: list[ImageInput], distances: Distances
) -> None:
    bank: LocalBank = build_local_bank(source, images, 9, distances)
    rows = shortened(all_rows(source.extractor, images, np.float16), distances)
    kept = shortened(bank.rows, distances)
    wanted = max(np.linalg.norm(kept - row, axis=1).min() for row in rows)
    found = covering_radius(source, images, bank.rows, distances)
    assert found == pytest.approx(wanted, rel=1e-9)
    assert found == pytest.approx(float(bank.radii[-1]), rel=1e-9)
    assert covering_radius(source, [], bank.rows, distances) == 0.0


def test_a_budget_of_all_patches_covers_them(
    source: FeatureSource, images: list[ImageInput]
) -> None:
    bank = build_local_bank(source, images[:1], 10_000, FULL)
    assert len(bank.rows) == bank.patches == 35
    assert bank.radii[-1] == 0.0
    assert covering_radius(source, images[:1], bank.rows, FULL) == 0.0


def test_row_budgets() -> None:
    # ceil(0.1 x 35) = 4, ceil(0.1 x 30) = 3: the float 0.1 x 30 = 3.0000000000000004 is still 3.
    assert [row_budget(0.1, n) for n in (35, 30, 1, 0)] == [4, 3, 1, 1]
    assert row_budget(1.0, 10**9) == 10**9


def test_progress_and_no_image(source: FeatureSource, images: list[ImageInput]) -> None:
    seen: list[tuple[int, int]] = []
    build_local_bank(source, images, 3, PROJECTED, progress=lambda *done: seen.append(done))
    assert seen == [(n, 6) for n in range(1, 7)]
    with pytest.raises(ValueError, match="at least one image"):
        build_local_bank(source, [], 3, PROJECTED)
