from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from common.analysis.statistics.exact_tests import holm, sign_flip_p_value, wilcoxon_p_value

tenths = st.integers(-30, 30).map(lambda number: number / 10)
differences = st.lists(tenths, min_size=1, max_size=8).map(np.array)


def enumerated(values):
    """Slow twin: every sign pattern by itself, in whole numbers."""
    whole = np.round(values * 10).astype(int)
    sums = [
        abs(sum(sign * one for sign, one in zip(signs, whole, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(whole))
    ]
    return np.mean(np.array(sums) >= abs(whole.sum()))


@given(differences)
@settings(deadline=None)
def test_permutation_is_the_full_enumeration(values):
    assert sign_flip_p_value(values) == pytest.approx(enumerated(values))


@given(differences.filter(lambda values: len(values) > 1))
@example(np.array([0.0, 0.0, 0.0, 0.1, -0.6, 0.8, 0.0, -0.3]))
@settings(deadline=None, max_examples=40)
def test_permutation_equals_scipy(values):
    # Whole numbers for scipy, which compares sums as floats: 0.1 - 0.6 + 0.8 - 0.3 is not 0 there.
    found = stats.permutation_test(
        (np.round(values * 10),), lambda one, axis: one.sum(axis=axis), permutation_type="samples",
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    # scipy doubles the smaller tail, which is the same for a symmetric distribution.
    assert sign_flip_p_value(values) == pytest.approx(min(1.0, found.pvalue), abs=1e-9)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=10, unique=True), st.data())
@settings(deadline=None)
def test_wilcoxon_equals_scipys_exact_one_without_ties(sizes, data):
    signs = data.draw(st.lists(st.sampled_from((-1, 1)), min_size=len(sizes), max_size=len(sizes)))
    values = np.array(sizes) * np.array(signs) / 100
    found = stats.wilcoxon(values, method="exact")
    statistic, p_value = wilcoxon_p_value(values)
    assert statistic == found.statistic
    assert p_value == pytest.approx(found.pvalue)


@given(differences.filter(lambda values: np.count_nonzero(values) > 1))
@settings(deadline=None, max_examples=40)
def test_wilcoxon_with_ties_and_zeros_equals_scipys_permutations(values):
    nonzero = values[values != 0]
    method = stats.PermutationMethod(n_resamples=np.inf)
    found = stats.wilcoxon(nonzero, method=method)
    statistic, p_value = wilcoxon_p_value(values)
    assert statistic == pytest.approx(found.statistic)
    assert p_value == pytest.approx(found.pvalue)
    # Mid-ranks are multiples of a half, so ten of them are whole.
    ranks = np.sign(nonzero) * stats.rankdata(np.abs(nonzero))
    assert p_value == pytest.approx(enumerated(ranks))


def test_more_tied_pairs_than_are_enumerated_are_drawn_the_same_every_time():
    values = np.round(np.random.default_rng(4).normal(0.35, 1.0, size=40), 1)
    statistic, p_value = wilcoxon_p_value(values)
    assert (statistic, p_value) == wilcoxon_p_value(values)
    assert p_value != wilcoxon_p_value(values, seed=43)[1]
    approximate = stats.wilcoxon(values[values != 0], method="asymptotic")
    assert statistic == approximate.statistic
    assert p_value == pytest.approx(approximate.pvalue, abs=0.01)


def test_six_differences_of_one_sign_give_two_in_sixty_four():
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert wilcoxon_p_value(values) == (0.0, pytest.approx(2 / 64))
    assert sign_flip_p_value(values) == pytest.approx(2 / 64)


def test_sums_that_are_equal_on_paper_are_equal():
    # 0.1 - 0.6 + 0.8 - 0.3 is 5.6e-17 in floats and 0 on paper: no pattern is nearer to zero.
    values = np.array([0.1, -0.6, 0.8, -0.3])
    assert values.sum() != 0
    assert sign_flip_p_value(values) == 1.0


def test_all_zero_is_p_one():
    assert wilcoxon_p_value(np.zeros(4)) == (0.0, 1.0)
    assert sign_flip_p_value(np.zeros(4)) == 1.0
    with pytest.raises(ValueError, match="no values"):
        sign_flip_p_value(np.array([]))


def test_many_pairs_are_drawn_near_the_truth_and_the_same_every_time():
    values = np.random.default_rng(1).normal(0.35, 1.0, size=20)
    drawn = sign_flip_p_value(values)
    assert drawn == sign_flip_p_value(values)
    # Whole numbers for scipy, which compares sums as floats: 0.1 - 0.6 + 0.8 - 0.3 is not 0 there.
    found = stats.permutation_test(
        (np.round(values * 10),), lambda one, axis: one.sum(axis=axis), permutation_type="samples",
        n_resamples=200_000, vectorized=True, batch=20_000, rng=np.random.default_rng(2),
    )  # fmt: skip
    assert drawn == pytest.approx(found.pvalue, abs=0.01)


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04 with factors 3, 2, 1: 0.03, 0.06, max(0.06, 0.04) = 0.06.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.02, None, 0.5]) == [0.04, None, 0.5]
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(values):
    adjusted = holm(values)
    assert all(a >= p for a, p in zip(adjusted, values, strict=True))
    order = np.argsort(values, kind="stable")
    assert all(np.diff([adjusted[index] for index in order]) >= 0)
