"""Nearest neighbours against float64 distances of every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_loops import plain_up_to
from slow_twins import Found, slow_search

from common.patchcore.exact import bound_search as _bound_search
from common.patchcore.exact import plain
from common.patchcore.exact.bound_search import BoundSearch, _Table
from common.patchcore.exact.filters import fit_principal
from common.patchcore.memory_bank import MemoryBank


def assert_same(found: Found, expected: Found) -> None:
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


@st.composite
def banks_and_queries(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ties, duplicates, constants, offsets, tiny and huge scales; queries near and very far."""
    m, q = draw(st.integers(1, 120)), draw(st.integers(1, 20))
    d = draw(st.sampled_from([1, 2, 7, 8, 9, 33, 130, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["normal", "low rank", "lattice", "duplicates", "constant"]))
    if kind == "normal":
        rows = rng.standard_normal((m, d))
    elif kind == "low rank":
        rows = rng.standard_normal((m, 3)) @ rng.standard_normal((3, d))
    elif kind == "lattice":
        rows = rng.integers(-1, 2, (m, d)).astype(np.float64)
    elif kind == "duplicates":
        rows = rng.standard_normal((4, d))[rng.integers(0, 4, m)]
    else:
        rows = np.ones((m, d))
    noise = draw(st.sampled_from([0.0, 0.0, 0.1, 1e3, 1e9]))
    queries = rows[rng.integers(0, m, q)] + noise * rng.integers(-2, 3, (q, d))
    scale = 10.0 ** draw(st.sampled_from([-38, -20, -3, 0, 3, 15, 25]))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, -3e4, 1e15]))
    return (rows * scale + offset).astype(np.float32), (queries * scale + offset).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    data=banks_and_queries(),
    k=st.integers(1, 6),
    components=st.sampled_from([0, 1, 5, 40]),
    share=st.sampled_from([0.0, 0.1, 1.0]),
    threads=st.sampled_from([1, 2]),
    bfloat16=st.booleans(),
)
def test_every_way_equals_the_slow_search(
    data: tuple[NDArray[np.float32], NDArray[np.float32]],
    k: int,
    components: int,
    share: float,
    threads: int,
    bfloat16: bool,
) -> None:
    rows, queries = data
    k = min(k, len(rows))
    search = BoundSearch(rows, threads, bfloat16)
    if components and components < rows.shape[1]:
        search.bound = _Table(rows, fit_principal(rows, search.frame, components), bfloat16)
        search.worth_measuring = share
    expected = slow_search(rows, queries, k)
    assert_same(search.nearest(queries, k), expected)
    distances, indices = MemoryBank(rows).nearest(queries, k)
    squeezed = (slice(None), 0) if k == 1 else (slice(None), slice(None))
    np.testing.assert_array_equal(indices, expected[1][squeezed])
    np.testing.assert_array_equal(distances, np.sqrt(expected[0])[squeezed])


def features(n: int, d: int, seed: int) -> NDArray[np.float32]:
    """Rows much as a pretrained network gives them: non-negative, a few strong directions."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).standard_normal((30, d))
    strong = rng.standard_normal((n, 30)) * np.geomspace(3, 0.1, 30)
    return np.maximum(strong @ directions + 0.1 * rng.standard_normal((n, d)), 0).astype(np.float32)


def test_blocks_and_trial_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = features(3000, 160, 1), features(300, 160, 2)
    expected = slow_search(rows, queries, 3)
    search = BoundSearch(rows, 2)
    assert_same(search.nearest(queries, 3), expected)
    assert search.bound is None
    monkeypatch.setattr(_bound_search, "_TRIAL_WORK", 0)
    assert_same(search.nearest(queries, 3), expected)
    assert search.bound is not None, "the trial must find strong directions worth using"
    for n_queries, n_rows in ((1, 7), (64, 500), (1000, 20_000)):
        monkeypatch.setattr(_bound_search, "_QUERIES", n_queries)
        monkeypatch.setattr(_bound_search, "_ROWS", n_rows)
        search = BoundSearch(rows, 2)
        assert_same(search.nearest(queries[:70], 3), (expected[0][:70], expected[1][:70]))


def test_trial_leaves_noise_to_plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bound_search, "_TRIAL_WORK", 0)
    rng = np.random.default_rng(3)
    rows, queries = rng.standard_normal((2, 2000, 256)).astype(np.float32)
    search = BoundSearch(rows, 1)
    assert_same(search.nearest(queries[:150], 1), slow_search(rows, queries[:150], 1))
    assert search.tried
    assert search.bound is None


def test_many_small_banks_are_not_all_left_to_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those of a simulation's messages: each is less than a second of work, together minutes."""
    rows, queries = features(300, 60, 1), features(100, 60, 2)
    monkeypatch.setattr(plain, "_LEAST", 0)
    monkeypatch.setattr(plain, "_MOST", 3 * queries.size * len(rows))
    monkeypatch.setattr(plain, "_done", 0)
    banks = [MemoryBank(rows, threads=1) for _ in range(5)]
    answers = [bank.nearest(queries) for bank in banks]
    assert [bank._search is None for bank in banks] == [True, True, True, False, False]
    for distances, indices in answers:
        np.testing.assert_array_equal(distances, answers[0][0])
        np.testing.assert_array_equal(indices, answers[0][1])


def test_growing_work_changes_the_way_but_not_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = features(1500, 140, 1), features(200, 140, 2)
    plain_up_to(monkeypatch, 2 * queries.size * len(rows))
    monkeypatch.setattr(_bound_search, "_TRIAL_WORK", 2 * queries.size * len(rows))
    bank = MemoryBank(rows, threads=2)
    answers = [bank.nearest(queries) for _ in range(6)]
    for distances, indices in answers[1:]:
        np.testing.assert_array_equal(distances, answers[0][0])
        np.testing.assert_array_equal(indices, answers[0][1])
    assert bank._search is not None
    assert bank._search.bound is not None


def test_worked_example() -> None:
    bank = MemoryBank(np.array([[0, 0], [3, 4], [0, 0]], np.float32))
    distances, indices = bank.nearest(np.array([[0, 0], [3, 0]], np.float32), k=3)
    assert indices.tolist() == [[0, 2, 1], [0, 2, 1]]  # the duplicate comes after the original
    assert distances.tolist() == [[0, 0, 5], [3, 3, 4]]
    distances, indices = bank.nearest(np.array([[3, 5]], np.float32))
    assert (distances.tolist(), indices.tolist()) == ([1.0], [1])


def test_no_queries() -> None:
    distances, indices = MemoryBank(np.ones((4, 2), np.float32)).nearest(
        np.empty((0, 2), np.float32)
    )
    assert distances.shape == indices.shape == (0,)


def test_misuse_is_refused() -> None:
    for rows in (np.empty((0, 3)), np.zeros(3), np.array([[np.nan]])):
        with pytest.raises(ValueError, match="rows"):
            MemoryBank(rows)
    bank = MemoryBank(np.zeros((3, 2), np.float32))
    for queries, k, message in (
        (np.zeros((1, 3)), 1, "3 columns"),
        (np.array([[0, np.inf]]), 1, "non-finite"),
        (np.zeros((1, 2)), 0, "k must"),
        (np.zeros((1, 2)), 4, "k must"),
    ):
        with pytest.raises(ValueError, match=message):
            bank.nearest(queries, k)
