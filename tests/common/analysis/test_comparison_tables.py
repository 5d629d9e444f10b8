from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_factory import made_up_metrics, write_run

from common.analysis import (
    create_comparison_table,
    create_summary_table,
    extract_auc_spro,
    gap_percent,
    load_metrics,
)


def results(**methods):
    return {
        method: {
            category: made_up_metrics(method, category, spro) for category, spro in values.items()
        }
        for method, values in methods.items()
    }


def test_comparison_table_has_categories_methods_and_a_mean_row():
    table = create_comparison_table(
        results(centralized={"a": 0.5, "b": 0.7}, federated_iid={"a": 0.4, "b": 0.8})
    )
    assert list(table.columns) == ["centralized", "federated_iid"]
    assert list(table.index) == ["a", "b", "mean"]
    assert table.loc["mean"].tolist() == pytest.approx([0.6, 0.6])


def test_another_limit_is_another_column_of_the_metrics():
    # The factory puts 0.06 on top at limit 0.1.
    table = create_comparison_table(results(m={"a": 0.5}), fpr_limit="0.1")
    assert table.loc["a", "m"] == pytest.approx(0.56)


def test_means_compare_only_what_all_methods_have():
    table = create_comparison_table(
        results(one={"a": 0.5, "b": 0.9}, two={"a": 0.4}, three={}), fpr_limit="0.05"
    )
    assert table.attrs["mean_over"] == ["a"]
    assert table.loc["mean", "one"] == 0.5
    assert table.loc["mean", "two"] == 0.4
    assert math.isnan(table.loc["mean", "three"])
    assert math.isnan(table.loc["b", "two"])


def test_what_load_metrics_reads_is_what_the_table_takes(tmp_path):
    write_run(tmp_path, "centralized", spros={"a": 0.25, "b": 0.75})
    loaded = load_metrics(tmp_path)
    table = create_comparison_table(loaded)
    assert extract_auc_spro(loaded, 0.05) == {"centralized": {"a": 0.25, "b": 0.75}}
    assert table["centralized"].tolist() == [0.25, 0.75, 0.5]


def test_summary_is_that_of_the_numbers():
    summary = create_summary_table(pd.DataFrame({"m": [0.2, 0.4, 0.9]}, index=list("abc")))
    # mean 1.5 / 3; deviations -0.3, -0.1, 0.4: sum of squares 0.26, over 2, root 0.3606.
    assert summary.loc["m"].tolist() == pytest.approx([3, 0.5, math.sqrt(0.13), 0.2, 0.4, 0.9])


def test_one_category_has_no_standard_deviation():
    summary = create_summary_table(pd.DataFrame({"m": [0.2]}, index=["a"]))
    assert math.isnan(summary.loc["m", "std"])
    assert summary.loc["m", "mean"] == 0.2


def test_gap_is_in_percent_of_the_reference():
    table = pd.DataFrame({"centralized": [0.8, 0.0, np.nan], "f": [0.6, 0.5, 0.4]})
    gap = gap_percent(table)["f"]
    assert gap[0] == pytest.approx(-25.0)
    assert gap.isna().tolist() == [False, True, True]
    with pytest.raises(ValueError, match="no column 'x'"):
        gap_percent(table, "x")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_mean_row_is_the_plain_mean_where_nothing_is_missing(values):
    names = {f"c{index}": value for index, value in enumerate(values)}
    table = create_comparison_table(results(m=names))
    assert table.loc["mean", "m"] == pytest.approx(np.mean(values))
