from __future__ import annotations

import math

from run_factory import made_up_info, write_run

from common.analysis import find_runs, group_runs, value_table
from common.analysis.series import comparability

SPRO = ("localization", "auc_spro", "0.05")


def seeded(tmp_path, method, seed, spro, **settings):
    name = "_".join([method, str(seed), *map(str, settings.values())])
    changed = {**made_up_info(method)["settings"], "seed": seed, **settings}
    return write_run(tmp_path / name, method, spros={"a": spro}, seed=seed, settings=changed)


def test_seeds_of_one_method_are_one_series_and_their_mean_one_number(tmp_path):
    for seed, spro in ((1, 0.4), (2, 0.6)):
        seeded(tmp_path, "centralized", seed, spro)
    (series,) = group_runs(find_runs([tmp_path]))
    assert series.label == "centralized"
    assert series.values("a", SPRO) == [0.4, 0.6]
    assert value_table([series], SPRO).loc["a", "centralized"] == 0.5


def test_runs_that_differ_in_a_setting_are_never_mixed(tmp_path):
    for rows in (10_000, 500):
        seeded(tmp_path, "federated_iid", 1, rows / 1e5, **{"global-bank-size": rows})
    seeded(tmp_path, "centralized", 1, 0.7)
    labels = [series.label for series in group_runs(find_runs([tmp_path]))]
    assert labels == [
        "centralized",
        "federated, IID, global-bank-size 500",
        "federated, IID, global-bank-size 10000",
    ]


def test_settings_that_change_no_result_make_no_series(tmp_path):
    for workers in (0, 4):
        seeded(tmp_path, "centralized", 1, 0.5, **{"num-workers": workers})
    assert [len(series.runs) for series in group_runs(find_runs([tmp_path]))] == [2]


def test_methods_have_a_fixed_order_with_unknown_ones_last(tmp_path):
    for method in ("zeta", "federated", "federated_category", "local", "centralized"):
        seeded(tmp_path, method, 1, 0.5)
    methods = [series.method for series in group_runs(find_runs([tmp_path]))]
    assert methods == ["centralized", "local", "federated_category", "federated", "zeta"]


def test_every_missing_number_has_its_reason(tmp_path):
    seeded(tmp_path, "centralized", 1, 0.5)
    write_run(tmp_path / "bad", "centralized", spros={}, status="failed", error="disk full")
    (series,) = group_runs(find_runs([tmp_path]))
    # The failed run has the factory's own settings, the seeded one the same with its seed.
    assert series.why_missing("a", SPRO) == ["centralized, bad: the run failed (disk full)"]
    assert len(series.why_missing("b", SPRO)) == 2
    assert math.isnan(value_table([series], SPRO, ["a", "b"]).loc["b", "centralized"])


def test_what_makes_a_comparison_unfair_is_named(tmp_path):
    seeded(tmp_path, "centralized", 1, 0.5)
    space = {**made_up_info("x")["feature_space"], "fingerprint": "other"}
    real = {"synthetic": False, "categories": ["a"]}
    write_run(tmp_path / "other", "federated_iid", spros={"a": 0.5}, feature_space=space, data=real)
    said = " ".join(comparability(group_runs(find_runs([tmp_path]))))
    assert "2 different feature spaces" in said
    assert "synthetic images and some on real ones" in said


def test_a_fair_comparison_has_nothing_to_name(tmp_path):
    seeded(tmp_path, "centralized", 1, 0.5)
    seeded(tmp_path, "federated_iid", 1, 0.4)
    assert comparability(group_runs(find_runs([tmp_path]))) == []


def test_banks_of_different_size_are_named(tmp_path):
    seeded(tmp_path, "centralized", 1, 0.5)
    bank = {**made_up_info("x")["bank"], "rows": {"a": 300, "b": 200}}
    write_run(tmp_path / "small", "federated_iid", spros={"a": 0.5}, bank=bank)
    (sentence,) = comparability(group_runs(find_runs([tmp_path])))
    assert sentence == "The banks differ in rows: centralized 2,000, federated, IID 500."
