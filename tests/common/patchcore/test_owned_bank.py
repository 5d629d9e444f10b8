"""The nearest two by owner against the distances of every pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_loops import plain_up_to
from test_memory_bank import banks_and_queries

from common.patchcore.exact import bound_search as _bound_search
from common.patchcore.exact.bound_search import BoundSearch
from common.patchcore.exact.device_search import DeviceSearch
from common.patchcore.exact.filters import fit_principal
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.owned_bank import NearestTwo, OwnedBank


def slow_two(
    rows: NDArray[np.float32], owners: NDArray[np.int64], queries: NDArray[np.float32]
) -> NearestTwo:
    """Measure every pair, owner by owner, as on a blackboard."""
    names = np.unique(owners)
    distances, indices, nearest, without = [], [], [], []
    exact = rows.astype(np.float64)
    for query in queries.astype(np.float64):
        squared = ((exact - query) ** 2).sum(axis=1)
        best = int(squared.argmin())
        others = squared[owners != owners[best]]
        distances.append(np.sqrt(squared[best]))
        indices.append(best)
        nearest.append(int(np.searchsorted(names, owners[best])))
        without.append(np.sqrt(others.min()) if len(others) else np.inf)
    return NearestTwo(*(np.array(a) for a in (distances, indices, nearest, without)))


def assert_same(found: NearestTwo, expected: NearestTwo) -> None:
    for name in ("distances", "indices", "owners", "without"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


@settings(max_examples=150, deadline=None)
@given(
    data=banks_and_queries(),
    stations=st.integers(1, 6),
    components=st.sampled_from([0, 1, 5, 40]),
    share=st.sampled_from([0.0, 0.1, 1.0]),
    threads=st.sampled_from([1, 2]),
    bfloat16=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_way_equals_the_slow_search(
    data: tuple[NDArray[np.float32], NDArray[np.float32]],
    stations: int,
    components: int,
    share: float,
    threads: int,
    bfloat16: bool,
    seed: int,
) -> None:
    rows, queries = data
    owners = 3 * np.random.default_rng(seed).integers(0, stations, len(rows)) + 1
    bank, expected = OwnedBank(rows, owners), slow_two(rows, owners, queries)
    assert_same(bank.nearest_two(queries), expected)
    search = BoundSearch(bank._rows, threads, bfloat16, owners=bank._sorted)
    if components and components < rows.shape[1]:
        search.bound = search.table(fit_principal(bank._rows, search.frame, components))
        search.worth_measuring = share
    squared, _ = found = search.nearest_two(queries, bank._places)
    np.testing.assert_array_equal(found, bank._plain_loop(queries))
    np.testing.assert_array_equal(np.sqrt(squared[:, 1]), expected.without)
    device = DeviceSearch(bank._rows, torch.device("cpu"), threads, 7, 16, owners=bank._sorted)
    for one, other in zip(device.nearest_two(queries, bank._places), found, strict=True):
        np.testing.assert_array_equal(one, other)
    # The minimum over the owners is the plain search's, bit for bit.
    distances, indices = MemoryBank(rows).nearest(queries)
    np.testing.assert_array_equal(bank.nearest_two(queries).distances, distances)
    np.testing.assert_array_equal(bank.nearest_two(queries).indices, indices)


def test_of_a_large_bank_with_blocks_and_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners of several blocks each, and a trial that finds the bound worth it."""
    monkeypatch.setattr(_bound_search, "_ROWS", 256)
    monkeypatch.setattr(_bound_search, "_TRIAL_WORK", 1)
    rng = np.random.default_rng(5)
    basis = rng.standard_normal((12, 160))
    rows = (rng.standard_normal((3000, 12)) @ basis).astype(np.float32)
    rows += 0.01 * rng.standard_normal(rows.shape).astype(np.float32)
    queries = rows[::6] + 0.3 * rng.standard_normal((500, 160)).astype(np.float32)
    owners = rng.choice([2, 5, 9, 11], len(rows), p=[0.6, 0.3, 0.09, 0.01])
    bank = OwnedBank(rows, owners)
    plain_up_to(monkeypatch, 0)
    found = bank.nearest_two(queries)
    assert isinstance(bank._search, BoundSearch)
    assert bank._search.bound is not None
    assert_same(found, slow_two(rows, owners, queries))
    assert bank.owners.tolist() == [2, 5, 9, 11]


def test_what_does_not_fit() -> None:
    rows = np.ones((3, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="owners of shape"):
        OwnedBank(rows, np.zeros(2, dtype=np.uint16))
    with pytest.raises(ValueError, match="rows of shape"):
        OwnedBank(rows[:0], np.zeros(0, dtype=np.uint16))
    bank = OwnedBank(rows, np.zeros(3, dtype=np.uint16))
    assert np.isinf(bank.nearest_two(rows).without).all()  # nobody else brought anything
    with pytest.raises(ValueError, match="2 columns"):
        bank.nearest_two(rows[:, :1])
    with pytest.raises(ValueError, match="non-finite"):
        bank.nearest_two(rows * np.float32(np.nan))
