"""Weights, budgets and merging: worked by hand, against slow twins, and as properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.patchcore.distances import Distances
from server_app.aggregation import (
    AGGREGATIONS,
    apportion,
    as_rows,
    owners_of,
    row_budgets,
    station_weights,
)

NO_PROJECTION = Distances(0, 7)


def farthest_first(
    rows: NDArray[np.float64],
    size: int,
    chosen: list[int],
    first: int | None,
    owners: NDArray[np.int64],
    quotas: list[int],
) -> list[int]:
    """The obvious loop: always the row farthest from all chosen ones, of owners below quota."""
    chosen, start = list(chosen), len(chosen)
    while len(chosen) < min(size + start, len(rows)):
        if not chosen:
            assert first is not None
            chosen.append(first)
            continue
        taken = np.bincount(owners[chosen], minlength=len(quotas))
        gaps = [
            -1.0
            if i in chosen or taken[owners[i]] >= quotas[owners[i]]
            else min(float(((row - rows[j]) ** 2).sum()) for j in chosen)
            for i, row in enumerate(rows)
        ]
        chosen.append(int(np.argmax(gaps)))
    return chosen[start:]


def quotas_of(
    banks: list[NDArray[np.float32]], weights: NDArray[np.float64], size: int
) -> tuple[NDArray[np.int64], list[int]]:
    """Whose each row is, and a quarter more than the fair share of each station, at least 1."""
    lengths = [len(bank) for bank in banks]
    fair = apportion(size, weights.tolist(), lengths)
    return np.repeat(np.arange(len(banks)), lengths), [
        max(1, math.ceil(1.25 * f - 1e-9)) for f in fair
    ]


@st.composite
def banks_and_size(draw: st.DrawFn) -> tuple[list[NDArray[np.float32]], NDArray[np.float64], int]:
    """One to four banks of whole-number rows (so that ties happen), some of them empty."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(sum))
    spread = draw(st.sampled_from([3, 1000]))
    banks = [rng.integers(0, spread, (length, 3)).astype(np.float32) for length in lengths]
    weights = station_weights([draw(st.integers(1, 20)) for _ in lengths])
    return banks, weights, draw(st.integers(1, sum(lengths) + 3))


# ------------------------------------------------------------------ weights and budgets


def test_weights_follow_the_images_or_count_every_station_with_images_alike() -> None:
    # 10 + 30 + 0 + 60 = 100 images.
    np.testing.assert_array_equal(station_weights([10, 30, 0, 60]), [0.1, 0.3, 0.0, 0.6])
    # Three stations have images.
    np.testing.assert_allclose(
        station_weights([10, 30, 0, 60], by_samples=False), [1 / 3, 1 / 3, 0, 1 / 3]
    )
    np.testing.assert_array_equal(station_weights([0, 0]), [0.0, 0.0])


def test_budgets_worked_by_hand() -> None:
    # ceil(2 x 1000 x 0.1) = 200, but 10 % of 1,000 patches are 100;
    # ceil(2 x 1000 x 0.3) = 600 < 10 % of 90,000; no patch, no row.
    weights = np.array([0.1, 0.3, 0.6])
    assert row_budgets(weights, [1_000, 90_000, 0], 1000, 0.1, 2.0) == [100, 600, 0]
    # ceil(1 x 7 x 1/3) = ceil(2.33) = 3 each.
    assert row_budgets(np.full(3, 1 / 3), [99, 99, 99], 7, 1.0, 1.0) == [3, 3, 3]
    # 2 x 10 x 0.3 is 6.000000000000001 in floats, and six rows on paper.
    assert row_budgets(np.array([0.3]), [100], 10, 1.0, 2.0) == [6]
    # A weight that rounds to nothing still sends its one row; no weight sends none.
    assert row_budgets(np.array([1e-12, 0.0]), [50, 50], 10, 0.1, 2.0) == [1, 0]


@given(
    images=st.lists(st.integers(0, 500), min_size=1, max_size=8).filter(sum),
    size=st.integers(1, 5000),
    ratio=st.floats(0.01, 1.0),
    oversample=st.floats(1.0, 5.0),
)
def test_budgets_keep_to_the_ratio_and_together_can_fill_the_bank(
    images: list[int], size: int, ratio: float, oversample: float
) -> None:
    patches = [49 * count for count in images]
    budgets = row_budgets(station_weights(images), patches, size, ratio, oversample)
    for budget, count in zip(budgets, patches, strict=True):
        assert 0 <= budget <= math.ceil(ratio * count)
        assert (budget > 0) == (count > 0)
    most = sum(math.ceil(ratio * count - 1e-9) for count in patches)
    assert sum(budgets) >= min(size, most)


# ------------------------------------------------------------------------- apportion


def test_apportion_worked_by_hand() -> None:
    # Exact 5.0, 3.0, 2.0.
    assert apportion(10, [5, 3, 2], [99, 99, 99]) == [5, 3, 2]
    # Exact 3.33 each: floors 3, and the one left over goes to the first of equal remainders.
    assert apportion(10, [1, 1, 1], [99, 99, 99]) == [4, 3, 3]
    # Exact 6.0, 2.4, 1.6 -> floors 6, 2, 1; the largest remainder, 0.6, takes the last one.
    assert apportion(10, [30, 12, 8], [99, 99, 99]) == [6, 2, 2]
    # The first takes only 2; its 4 are shared 2.4 : 1.6 of the 8 left: 4.8 and 3.2.
    assert apportion(10, [30, 12, 8], [2, 99, 99]) == [2, 5, 3]
    # Nobody can take more than there is room for.
    assert apportion(10, [1, 1], [2, 3]) == [2, 3]
    # Shares of nothing are equal ones.
    assert apportion(3, [0, 0], [9, 9]) == [2, 1]
    assert apportion(0, [1, 1], [9, 9]) == [0, 0]


@given(
    total=st.integers(0, 10_000),
    stations=st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 5000)), min_size=1, max_size=12),
)
def test_apportion_gives_all_it_can_and_never_above_a_limit(
    total: int, stations: list[tuple[float, int]]
) -> None:
    shares, rooms = [share for share, _ in stations], [room for _, room in stations]
    given_ = apportion(total, shares, rooms)
    assert sum(given_) == min(total, sum(rooms))
    assert all(0 <= got <= room for got, room in zip(given_, rooms, strict=True))


@given(total=st.integers(0, 1000), shares=st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_apportion_without_limits_is_within_one_of_the_exact_share(
    total: int, shares: list[int]
) -> None:
    given_ = apportion(total, shares, [total] * len(shares))
    for got, share in zip(given_, shares, strict=True):
        assert abs(got - total * share / sum(shares)) < 1 + 1e-9


# ------------------------------------------------------------------------- aggregations


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
@limits(deadline=None, max_examples=60)
@given(case=banks_and_size())
def test_every_aggregation_returns_distinct_rows_and_as_many_as_there_can_be(
    name: str, case: tuple[list[NDArray[np.float32]], NDArray[np.float64], int]
) -> None:
    banks, weights, size = case
    indices = AGGREGATIONS[name](banks, weights, size, distances=NO_PROJECTION, min_share=0.2)
    total = sum(map(len, banks))
    assert indices.dtype == np.int64
    assert len(indices) == min(size, total) == len(set(indices.tolist()))
    assert all(0 <= index < total for index in indices.tolist())
    np.testing.assert_array_equal(as_rows(banks, indices), np.concatenate(banks)[indices])


@limits(deadline=None, max_examples=60)
@given(case=banks_and_size())
def test_federated_coreset_is_farthest_first_of_everything_sent_within_quotas(
    case: tuple[list[NDArray[np.float32]], NDArray[np.float64], int],
) -> None:
    banks, weights, size = case
    pooled = np.concatenate(banks).astype(np.float64)
    first = int(np.random.default_rng(NO_PROJECTION.seed).integers(len(pooled)))
    expected = farthest_first(pooled, size, [], first, *quotas_of(banks, weights, size))
    found = AGGREGATIONS["federated_coreset"](banks, weights, size, distances=NO_PROJECTION)
    assert found.tolist() == expected


@limits(deadline=None, max_examples=60)
@given(case=banks_and_size(), share=st.floats(0, 1))
def test_diversity_preserving_keeps_every_stations_minimum_then_fills_farthest_first(
    case: tuple[list[NDArray[np.float32]], NDArray[np.float64], int], share: float
) -> None:
    banks, weights, size = case
    found = AGGREGATIONS["diversity_preserving"](
        banks, weights, size, distances=NO_PROJECTION, min_share=share
    )
    lengths = [len(bank) for bank in banks]
    owners = owners_of(found, lengths)
    # ceil(share x size), unless all the minima together would not fit.
    minimum = min(math.ceil(share * size - 1e-9), size // len(banks))
    prefixes: list[int] = []
    for station, length in enumerate(lengths):
        assert (owners == station).sum() >= min(minimum, length)
        start = sum(lengths[:station])
        prefixes += range(start, start + min(minimum, length))
    assert set(prefixes) <= set(found.tolist())
    if prefixes:
        pooled = np.concatenate(banks).astype(np.float64)
        within = quotas_of(banks, weights, size)
        rest = farthest_first(pooled, size - len(prefixes), prefixes, None, *within)
        assert found.tolist() == prefixes + rest


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
def test_garbage_far_from_everything_has_no_more_than_a_quarter_beyond_its_share(name: str) -> None:
    """Wrongly taken: twice its share, all that it had sent, since farthest first prefers it."""
    rng = np.random.default_rng(0)
    banks = [rng.normal(size=(400, 8)).astype(np.float32) for _ in range(5)]
    banks[3] = (1e4 * rng.normal(size=(400, 8))).astype(np.float32)
    found = AGGREGATIONS[name](banks, np.full(5, 0.2), 1000, distances=NO_PROJECTION)
    assert len(found) == 1000
    taken = np.bincount(owners_of(found, [400] * 5), minlength=5)
    assert taken[3] <= 250
    assert taken.min() >= 150


def test_what_a_small_station_cannot_fill_is_nobodys_excess() -> None:
    banks = [np.arange(3.0)[:, None], np.arange(50.0, 150.0)[:, None]]
    found = AGGREGATIONS["federated_coreset"](
        banks, np.array([0.5, 0.5]), 60, distances=NO_PROJECTION
    )
    assert np.bincount(owners_of(found, [3, 100])).tolist() == [3, 57]


def test_diversity_preserving_protects_a_station_that_covers_little() -> None:
    # Station 0 lies wide (0, 10, 20, 30), station 1 in one spot: farthest first from row 0 or any
    # other would take all four of station 0 before the second of station 1.
    wide = np.array([[0.0], [10.0], [20.0], [30.0]], dtype=np.float32)
    spot = np.array([[5.0], [5.1], [5.2]], dtype=np.float32)
    both = [wide, spot]
    equal = np.array([0.5, 0.5])
    plain = AGGREGATIONS["federated_coreset"](both, equal, 4, distances=NO_PROJECTION)
    # ceil(0.5 x 4) = 2 rows of each.
    kept = AGGREGATIONS["diversity_preserving"](
        both, equal, 4, distances=NO_PROJECTION, min_share=0.5
    )
    assert (owners_of(plain, [4, 3]) == 1).sum() <= 1
    assert kept.tolist() == [0, 1, 4, 5]


def test_concatenate_takes_prefixes_in_proportion() -> None:
    banks = [np.zeros((10, 1), np.float32), np.ones((10, 1), np.float32)]
    # 8 rows, 3 : 1 -> 6 and 2, from the front of each.
    found = AGGREGATIONS["concatenate"](banks, np.array([0.75, 0.25]), 8, distances=NO_PROJECTION)
    assert found.tolist() == [0, 1, 2, 3, 4, 5, 10, 11]


@limits(deadline=None, max_examples=40)
@given(case=banks_and_size())
def test_concatenate_is_prefixes_apportioned_by_weight(
    case: tuple[list[NDArray[np.float32]], NDArray[np.float64], int],
) -> None:
    banks, weights, size = case
    lengths = [len(bank) for bank in banks]
    found = AGGREGATIONS["concatenate"](banks, weights, size, distances=NO_PROJECTION)
    owners = owners_of(found, lengths)
    expected = apportion(size, weights.tolist(), lengths)
    for station, count in enumerate(expected):
        start = sum(lengths[:station])
        own = found[owners == station]
        assert own.tolist() == list(range(start, start + count))


def test_selection_measures_in_the_stations_projection() -> None:
    rng = np.random.default_rng(0)
    banks = [rng.normal(size=(20, 32)).astype(np.float32) for _ in range(2)]
    equal = np.array([0.5, 0.5])
    projected = Distances(4, 7)
    small = [projected(bank) for bank in banks]
    # Projecting first and selecting without a projection is the same thing.
    np.testing.assert_array_equal(
        AGGREGATIONS["federated_coreset"](banks, equal, 9, distances=projected),
        AGGREGATIONS["federated_coreset"](small, equal, 9, distances=NO_PROJECTION),
    )


def test_owners_skip_empty_banks() -> None:
    # Banks of 2, 0 and 3 rows: rows 0-1 are the first's, 2-4 the third's.
    np.testing.assert_array_equal(owners_of(np.arange(5), [2, 0, 3]), [0, 0, 2, 2, 2])


def test_without_distances_the_features_own_space_is_used() -> None:
    rng = np.random.default_rng(1)
    banks = [rng.standard_normal((9, 6), dtype=np.float32) for _ in range(3)]
    weights = np.full(3, 1 / 3)
    for aggregate in AGGREGATIONS.values():
        plain = aggregate(banks, weights, 12)
        stated = aggregate(banks, weights, 12, distances=Distances(components=0, seed=0))
        assert plain.tolist() == stated.tolist()
