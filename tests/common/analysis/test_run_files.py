from __future__ import annotations

import pytest
from run_factory import CATEGORIES, dump, made_up_metrics, write_run

from common.analysis import find_runs, load_run
from common.analysis.runs import metric_value, missing_reason
from common.errors import InputError


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = load_run(write_run(tmp_path / "r", "federated_iid", spros={"tank_screw": 0.61}))
    assert (run.name, run.method, run.seed, run.failed) == ("r", "federated_iid", 42, False)
    assert run.metrics["federated_iid"]["tank_screw"]["localization"]["auc_spro"]["0.05"] == 0.61
    assert run.curves["federated_iid"]["tank_screw"].fpr[-1] == 1.0
    assert run.bank_rows == 2000
    assert run.synthetic
    assert run.random_weights
    assert len(run.contributions) == len(run.stations) == 5


def test_a_folder_with_metrics_only_is_a_run(tmp_path):
    folder = tmp_path / "maps"
    metrics = made_up_metrics("other", "tank_screw", 0.5, synthetic=False)
    dump(folder / "evaluation/metrics/other/tank_screw/metrics.json", metrics)
    run = load_run(folder)
    assert run.method == "other"
    assert not run.synthetic
    assert run.stations == []
    assert run.curves == {}
    assert run.seed is None


def test_a_failed_run_keeps_its_reason(tmp_path):
    run = load_run(write_run(tmp_path / "r", status="failed", error="too few", spros={}))
    assert run.failed
    assert run.error == "too few"
    assert run.methods == ("federated_iid",)


@pytest.mark.parametrize("key", ["fpr", "mean_spro"])
def test_a_curve_without_points_is_no_curve_and_half_a_curve_an_error(tmp_path, key):
    folder = write_run(tmp_path / "r", spros={"tank_screw": 0.5})
    curve = folder / "evaluation/metrics/federated_iid/tank_screw/curve.json"
    dump(curve, {"per_defect_type": {}})
    assert load_run(folder).curves == {}
    dump(curve, {key: [0.0, 1.0]})
    with pytest.raises(InputError, match=r"curve\.json.*two lists"):
        load_run(folder)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.json", '{"status": "comp', r"run\.json is not JSON .*line 1"),
        ("run.json", "[]", r"run\.json holds list"),
        ("run.json", '{"stations": {"a": 1}}', r"run\.json: stations is not a list"),
        ("run.json", '{"settings": 3}', r"run\.json: settings is int"),
        ("contributions.json", "{", r"contributions\.json is not JSON"),
        ("evaluation/metrics/federated_iid/tank_screw/metrics.json", "{", r"metrics\.json"),
        ("evaluation/metrics/federated_iid/tank_screw/curve.json", "{", r"curve\.json is not"),
        (
            "evaluation/metrics/federated_iid/tank_screw/curve.json",
            '{"fpr": ["a"], "spro": [1]}',
            r"curve\.json: .*numbers only",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, text, said):
    folder = write_run(tmp_path / "r")
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=said):
        load_run(folder)


def test_a_category_without_metrics_is_a_problem_and_not_an_end(tmp_path):
    folder = write_run(tmp_path / "r")
    (folder / "evaluation/metrics/federated_iid/tank_screw/metrics.json").unlink()
    run = load_run(folder)
    assert run.problems == ("tank_screw: its metrics.json was not written",)
    assert len(run.metrics["federated_iid"]) == len(CATEGORIES) - 1


def test_runs_are_found_at_any_depth_once_and_not_in_hidden_folders(tmp_path):
    a = write_run(tmp_path / "all/one/a")
    b = write_run(tmp_path / "all/b")
    write_run(tmp_path / "all/.partial/c")
    assert [run.name for run in find_runs([tmp_path / "all"])] == ["b", "a"]
    assert [run.name for run in find_runs([a, tmp_path / "all", b])] == ["a", "b"]


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="holds no run"):
        find_runs([tmp_path])
    with pytest.raises(InputError, match="is not a run folder"):
        load_run(tmp_path)


def test_a_number_that_is_none_is_missing_and_never_zero():
    metrics = {
        "localization": {"auc_spro": {"0.05": float("nan"), "0.1": 0}},
        "classification": {"auc_roc": True},
        "not_computed": {"localization.pixel_auc_roc": "no masks", "classification": "one class"},
    }
    assert metric_value(metrics, ("localization", "auc_spro", "0.05")) is None
    assert metric_value(metrics, ("localization", "auc_spro", "0.1")) == 0.0
    assert metric_value(metrics, ("classification", "auc_roc")) is None
    assert metric_value(metrics, ("localization", "auc_spro", "0.05", "more")) is None
    assert missing_reason(metrics, ("localization", "pixel_auc_roc")) == "no masks"
    assert missing_reason(metrics, ("classification", "average_precision")) == "one class"
    assert "no reason" in missing_reason(metrics, ("localization", "auc_spro", "1.0"))


def test_unfinished_runs_and_those_moved_aside_are_not_found(tmp_path):
    for name in ("a", "a.1", "a.12.partial", "b.2"):
        write_run(tmp_path / name, spros={})
    assert [run.name for run in find_runs([tmp_path])] == ["a", "b.2"]
    # Asked for by name, they are read; an unfinished one under the name it will have.
    assert [run.name for run in find_runs([tmp_path / "a.1"])] == ["a.1"]
    assert load_run(tmp_path / "a.12.partial").name == "a"


def test_a_run_that_failed_early_has_no_kind_of_images(tmp_path):
    data = {"synthetic": None, "categories": []}
    run = load_run(write_run(tmp_path / "r", spros={}, data=data, feature_space=None, bank=None))
    assert (run.images, run.synthetic, run.random_weights, run.bank_rows) == (
        "not recorded",
        False,
        False,
        None,
    )
