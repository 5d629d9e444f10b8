from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_factory import made_up_metrics
from scipy import stats

from common.analysis import compare_with_reference, compute_statistical_analysis
from common.analysis.statistics.effect_size import effect_size, effect_words

scores = st.integers(0, 1000).map(lambda number: number / 1000)


def table(**columns):
    return pd.DataFrame(columns, index=[f"c{i}" for i in range(len(next(iter(columns.values()))))])


def only(frame, reference="a"):
    (comparison,) = compare_with_reference(frame, reference).comparisons
    return comparison


@given(st.lists(st.tuples(scores, scores), min_size=2, max_size=8))
@settings(deadline=None, max_examples=60)
def test_paired_t_equals_scipy_and_nothing_is_ever_nan(pairs):
    a, b = np.array(pairs).T
    one = only(table(a=a, b=b))
    differences = np.round(b - a, 12)
    if np.all(differences == 0):
        assert one.verdict == "no difference"
    elif np.ptp(differences) > 1e-9:
        expected = stats.ttest_rel(b, a)
        assert one.t_statistic == pytest.approx(expected.statistic, rel=1e-6)
        assert one.p_values["t_test"] == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    for value in [*one.p_values.values(), *one.adjusted.values(), one.effect.d, one.effect.d_z]:
        assert value is None or math.isfinite(value)


def test_identical_methods_are_no_difference_with_p_one():
    one = only(table(a=[0.1, 0.5, 0.9], b=[0.1, 0.5, 0.9]))
    assert one.verdict == "no difference"
    assert set(one.p_values.values()) == set(one.adjusted.values()) == {1.0}
    assert one.effect.d == one.effect.d_z == 0.0
    assert one.gap_percent == 0.0


def test_identical_constant_methods_are_no_difference_too():
    one = only(table(a=[0.5, 0.5], b=[0.5, 0.5]))
    assert one.verdict == "no difference"
    assert one.effect.d == 0.0


@pytest.mark.parametrize("count", [0, 1])
def test_one_category_is_too_few(count):
    a = [0.5] * count + [np.nan] * 2
    one = only(table(a=a, b=[0.4] * (count + 2)))
    assert one.verdict == "too few"
    assert set(one.p_values.values()) == {None}
    assert one.effect is None
    assert len(one.categories) == count
    assert len(one.left_out) == 2


def test_a_constant_shift_has_no_t_but_exact_tests():
    # 0.3 - 0.2 and 0.2 - 0.1 differ in the last bit: still a tie, still no spread.
    one = only(table(a=[0.2, 0.1, 0.7, 0.5], b=[0.3, 0.2, 0.8, 0.6]))
    assert one.p_values["t_test"] is None
    assert one.p_values["wilcoxon"] == one.p_values["permutation"] == pytest.approx(2 / 16)
    assert one.effect.d_z is None
    assert "no spread" in one.note
    assert one.verdict == "not significant"


def test_holm_runs_over_the_comparisons_of_each_test():
    rng = np.random.default_rng(0)
    a = rng.random(6)
    frame = table(a=a, b=a - rng.random(6) / 9, c=a - rng.random(6) / 9, d=[np.nan] * 6)
    analysis = compare_with_reference(frame, "a")
    b, c, d = analysis.comparisons
    # Both have 2/64; the first of two takes the factor 2, and the second is no lower.
    assert b.p_values["wilcoxon"] == c.p_values["wilcoxon"] == pytest.approx(2 / 64)
    assert b.adjusted["wilcoxon"] == c.adjusted["wilcoxon"] == pytest.approx(4 / 64)
    assert d.verdict == "too few"
    assert analysis.tested == 2
    assert b.verdict != "significant"


def test_significant_needs_every_test():
    a = np.linspace(0.3, 0.9, 8)
    clear = only(table(a=a, b=a - np.linspace(0.05, 0.09, 8)))
    assert clear.verdict == "significant"
    assert max(p for p in clear.adjusted.values() if p is not None) < 0.05
    # Five pairs of one sign: t is sure, the exact tests cannot go below 2/32.
    five = only(table(a=a[:5], b=a[:5] - np.linspace(0.05, 0.06, 5)))
    assert five.p_values["t_test"] < 0.05 < five.p_values["permutation"]
    assert five.verdict == "tests disagree"
    assert five.smallest_exact_p == 1 / 16


def test_missing_pairs_are_left_out_by_name_and_not_imputed():
    one = only(table(a=[0.5, np.nan, 0.7, 0.6], b=[0.4, 0.1, np.nan, 0.4]))
    assert one.categories == ("c0", "c3")
    assert one.left_out == ("c1", "c2")
    assert one.mean_difference == pytest.approx((-0.1 - 0.2) / 2)
    assert one.gap_percent == pytest.approx((0.4 - 0.55) / 0.55 * 100)


def test_results_as_they_are_loaded_and_as_json():
    results = {
        method: {c: made_up_metrics(method, c, spro) for c, spro in (("x", s), ("y", s + 0.1))}
        for method, s in (("centralized", 0.5), ("federated_iid", 0.4))
    }
    analysis = compute_statistical_analysis(results, "0.05")
    assert analysis.comparisons[0].method == "federated_iid"
    assert analysis.comparisons[0].mean_difference == pytest.approx(-0.1)
    assert json.loads(json.dumps(analysis.to_dict()))["reference"] == "centralized"
    with pytest.raises(ValueError, match="no column 'local'"):
        compute_statistical_analysis(results, reference="local")


def test_cohens_d_by_hand():
    ours, theirs = np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.7, 0.7])
    # Differences 0.1, 0, 0.2: mean 0.1, standard deviation 0.1, so d_z = 1.
    # Variances 0.04 and 0.03: pooled sqrt(0.035), so d = 0.1 / 0.18708 = 0.5345.
    effect = effect_size(ours, theirs)
    assert effect.d_z == pytest.approx(1.0)
    assert effect.d == pytest.approx(0.1 / math.sqrt(0.035))


def test_intervals_are_seeded_ordered_and_hold_the_estimate():
    rng = np.random.default_rng(3)
    theirs = rng.random(12)
    ours = theirs - 0.05 + rng.normal(0, 0.05, 12)
    effect = effect_size(ours, theirs, seed=7)
    assert effect == effect_size(ours, theirs, seed=7)
    assert effect.d_interval != effect_size(ours, theirs, seed=8).d_interval
    assert effect.d_interval[0] < effect.d < effect.d_interval[1]
    assert effect.d_z_interval[0] < effect.d_z < effect.d_z_interval[1]


def test_interval_is_that_of_drawing_pairs_by_hand():
    rng = np.random.default_rng(5)
    theirs = rng.random(9)
    ours = theirs + rng.normal(0.02, 0.05, 9)
    draws = np.random.default_rng(7).integers(9, size=(10_000, 9))
    # Slow twin: one resample after the other, the same categories of both methods.
    sizes = []
    for chosen in draws:
        differences = (ours - theirs)[chosen]
        if np.ptp(differences) > 1e-9:
            sizes.append(differences.mean() / differences.std(ddof=1))
    expected = np.percentile(sizes, [2.5, 97.5])
    assert effect_size(ours, theirs, seed=7).d_z_interval == pytest.approx(tuple(expected))


def test_two_categories_have_no_interval():
    effect = effect_size(np.array([0.5, 0.9]), np.array([0.4, 0.6]))
    assert effect.d_z is not None
    assert effect.d_z_interval is None
    assert "bootstrap" in effect.note


@pytest.mark.parametrize(
    ("d", "word"),
    [(0.0, "negligible"), (-0.19, "negligible"), (0.2, "small"), (-0.5, "medium"), (0.8, "large")],
)
def test_words_of_cohen(d, word):
    assert effect_words(d) == word
