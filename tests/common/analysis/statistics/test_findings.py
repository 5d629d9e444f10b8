from __future__ import annotations

import numpy as np
import pandas as pd
from run_factory import made_up_info, write_run

from common.analysis import compare_with_reference, find_runs, group_runs
from common.analysis.statistics.findings import (
    anomaly_kind_sentences,
    best_sentences,
    caveats,
    comparison_finding,
    comparison_sentences,
)

NAMES = list("abcdef")


def frame(**columns):
    return pd.DataFrame(columns, index=NAMES[: len(next(iter(columns.values())))])


def said(table, reference="centralized"):
    analysis = compare_with_reference(table, reference)
    return " ".join(" ".join(comparison_sentences(c, analysis)) for c in analysis.comparisons)


def test_the_best_is_the_one_with_the_highest_mean():
    sentences = best_sentences(frame(one=[0.5, 0.7], two=[0.6, 0.7]), "M")
    assert sentences == [
        "two has the highest mean M: 0.650 over the 2 categories that all methods have."
    ]


def test_a_tie_is_called_one_and_a_method_without_mean_is_named():
    sentences = best_sentences(frame(one=[0.5], two=[0.5], three=[np.nan]), "M")
    assert sentences[0].startswith("one and two have the highest mean M: 0.500 over the 1 category")
    assert sentences[1] == "No mean for three: values are missing."
    none = best_sentences(frame(one=[0.5, np.nan], two=[np.nan, 0.5]), "M")
    assert none == ["No mean M: no category has a value for every method."]


def test_nothing_is_called_significant_that_is_not():
    base = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    text = said(frame(centralized=base, f=base - np.linspace(0.05, 0.054, 5)))
    assert "not called significant" in text
    assert "statistically significant" not in text
    assert "cannot go below p = 0.062" in text
    text = said(frame(centralized=base, f=base + np.array([0.01, -0.02, 0.01, -0.01, 0.02])))
    assert "no significant difference was found" in text
    assert "does not show that the two are equal" in text


def test_a_clear_difference_is_called_significant_with_its_largest_p():
    base = np.array([0.5, 0.55, 0.6, 0.7, 0.8, 0.9])
    text = said(frame(centralized=base, f=base - np.linspace(0.05, 0.08, 6)))
    assert "statistically significant difference" in text
    assert "largest p 0.031" in text
    assert "Holm" not in text  # one comparison: nothing to correct


def test_equal_and_lonely_are_said_so():
    assert "no difference, the values are equal in all 2" in said(
        frame(centralized=[0.5, 0.6], f=[0.5, 0.6])
    )
    assert "too few categories to test (1;" in said(frame(centralized=[0.5], f=[0.6]))


def test_the_finding_joins_gap_and_verdict():
    table = frame(centralized=[0.5, 0.5, 0.5], f=[0.4, 0.45, 0.35])
    analysis = compare_with_reference(table, "centralized")
    text = comparison_finding(analysis.comparisons[0], analysis, table)
    assert text.startswith("f is 20.0 % below centralized: 0.400 against 0.500. ")
    assert "significant" in text


def test_structural_and_logical_are_compared_over_categories_with_both(tmp_path):
    write_run(tmp_path / "r", "centralized", spros={"a": 0.5, "b": 0.6})
    (text,) = anomaly_kind_sentences(group_runs(find_runs([tmp_path])), "0.05")
    # The factory: structural + 0.05, logical - 0.1 of the mean 0.55.
    assert "structural anomalies better than logical" in text
    assert "centralized 0.600 structural and 0.450 logical, over 2 categories" in text


def test_caveats_name_synthetic_data_random_weights_and_few_categories(tmp_path):
    write_run(tmp_path / "r", "centralized")
    runs = find_runs([tmp_path])
    text = " ".join(caveats(group_runs(runs), runs, 6))
    for part in ("6 categories are few", "single run", "synthetic images", "random weights"):
        assert part in text


def test_a_real_run_alone_has_no_caveat_about_what_it_is_not(tmp_path):
    space = {**made_up_info("x")["feature_space"], "weights": "IMAGENET1K_V1"}
    data = {"synthetic": False, "categories": ["a"]}
    write_run(tmp_path / "r", "federated", spros={"a": 0.5}, feature_space=space, data=data)
    runs = find_runs([tmp_path])
    assert caveats(group_runs(runs), runs, None) == []
