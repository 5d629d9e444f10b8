"""`metrics.json`: its shape, its reasons, and reading it back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_cases import make_shots
from evaluation_twin import Shot, add_all

from common.data.regions import Region
from common.errors import InputError
from common.evaluation.exact import ExactEvaluation
from common.evaluation.mergeable.counts import EvaluationCounts
from common.evaluation.metrics import MetricsWrapper, build_curves, build_metrics
from common.evaluation.metrics_files import extract_auc_spro, load_metrics, write_metrics
from common.evaluation.thresholds import calibrate_threshold

NAMES = {
    "method": "federated_iid",
    "category": "tank_screw",
    "synthetic_data": True,
    "weights": "random (seed 42)",
}


def tiny_shots():
    """Two good images (maxima 1 and 3), one with a missing part (2), one with a scratch (4)."""
    mask = np.array([[True, False, False]])

    def shot(values, folder):
        regions = [] if folder == "good" else [Region(mask, folder, 1)]
        anomaly_map = np.array([values], dtype=np.float32)
        return Shot(anomaly_map, regions, int(folder != "good"), float(max(values)), folder)

    return [
        shot([1, 0, 0], "good"),
        shot([3, 0, 0], "good"),
        shot([2, 0, 0], "missing"),
        shot([4, 0, 0], "scratch"),
    ]


def test_shape_and_values():
    threshold = calibrate_threshold([0.5, 1.5], 0.05)
    result = add_all(ExactEvaluation(), tiny_shots()).compute()
    metrics = build_metrics(result, threshold=threshold, **NAMES)
    assert list(metrics) == [
        *("method", "category", "synthetic_data", "weights", "localization", "classification"),
        *("counts", "per_defect_type", "per_anomaly_kind", "threshold", "evaluation"),
        "not_computed",
    ]
    assert list(metrics["localization"]["auc_spro"]) == ["0.01", "0.05", "0.1", "0.3", "1.0"]
    # Ten normal pixels, of which the 3 lies above one of the two regions (the 2): the mean
    # sPRO is 1/2 up to FPR 1/10 and 1 from there on.
    assert metrics["localization"]["auc_spro"]["1.0"] == pytest.approx(0.05 + 0.9)
    assert metrics["localization"]["auc_spro"]["0.1"] == pytest.approx(0.5)
    assert metrics["localization"]["pixel_auc_roc"] == pytest.approx(19 / 20)
    # Image scores: 2 beats 1 but not 3, 4 beats both.
    assert metrics["classification"]["auc_roc"] == 0.75
    assert metrics["classification"]["tpr_at_tnr"] == {"0.9": 0.5, "0.95": 0.5, "0.99": 0.5}
    assert metrics["counts"] == {
        "images": 4,
        "good_images": 2,
        "defective_images": 2,
        "regions": 2,
        "normal_pixels": 10,
        "anomalous_pixels": 2,
    }
    missing = metrics["per_defect_type"]["missing"]
    assert missing["kind"] == "logical"
    assert missing["classification"]["auc_roc"] == 0.5
    # Eight normal pixels in the good images and its own: one of them lies above its region.
    assert missing["counts"]["normal_pixels"] == 8
    assert missing["localization"]["auc_spro"]["1.0"] == pytest.approx(7 / 8)
    assert metrics["per_defect_type"]["scratch"]["kind"] == "unknown"
    assert metrics["per_anomaly_kind"]["logical"]["counts"] == missing["counts"]
    assert metrics["not_computed"] == {
        "per_anomaly_kind.structural": "no defect type is known to be structural"
    }
    # Threshold 1.5: of the good images the 3 is above it, of the defective ones both.
    assert metrics["threshold"]["false_alarm_rate_on_test"] == 0.5
    assert metrics["threshold"]["detection_rate_on_test"] == 1.0
    assert metrics["threshold"]["promised_false_alarm_rate"] == pytest.approx(1 / 3)
    assert metrics["evaluation"]["method"] == "exact"
    assert set(metrics["evaluation"]["auc_error_bound"].values()) == {0.0}


def test_counts_state_their_bound():
    metrics = build_metrics(add_all(EvaluationCounts(), tiny_shots()).compute(), **NAMES)
    assert metrics["evaluation"]["method"] == "merged counts"
    assert all(0 < bound < 1e-9 for bound in metrics["evaluation"]["auc_error_bound"].values())
    assert metrics["not_computed"]["threshold"] == "no good images were held out"


def test_absent_values_have_their_reason():
    good = add_all(ExactEvaluation(), tiny_shots()[:2]).compute()
    metrics = build_metrics(good, threshold=calibrate_threshold([1.0], 0.5), **NAMES)
    assert metrics["localization"] == {}
    assert metrics["classification"] == {}
    assert metrics["not_computed"]["localization.auc_spro"] == "no defect regions"
    assert metrics["not_computed"]["classification.tpr_at_tnr"] == "no defective images"
    assert metrics["not_computed"]["threshold.detection_rate_on_test"] == "no defective images"
    assert "detection_rate_on_test" not in metrics["threshold"]


def test_kinds_of_the_user():
    result = add_all(ExactEvaluation(), tiny_shots()).compute(kinds={"scratch": "structural"})
    metrics = build_metrics(result, **NAMES)
    assert metrics["per_anomaly_kind"]["structural"]["counts"]["regions"] == 1
    assert metrics["not_computed"].keys() == {"threshold"}


def test_written_and_read_back(tmp_path):
    result = add_all(ExactEvaluation(), make_shots(2, 3, 5, "smooth")).compute()
    metrics, curves = build_metrics(result, **NAMES), build_curves(result)
    path = write_metrics(tmp_path / "run", metrics, curves)
    assert path.relative_to(tmp_path / "run").as_posix() == (
        "evaluation/metrics/federated_iid/tank_screw/metrics.json"
    )
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["curve.json", "metrics.json"]
    for root in (tmp_path, tmp_path / "run", tmp_path / "run" / "evaluation" / "metrics"):
        assert load_metrics(root) == {"federated_iid": {"tank_screw": metrics}}
    read = json.loads((path.parent / "curve.json").read_text())
    assert read["fpr"][0] == 0
    assert read["fpr"][-1] == 1
    assert set(read["per_defect_type"]) <= set(metrics["per_defect_type"])
    value = metrics["localization"]["auc_spro"]["0.3"]
    assert extract_auc_spro(load_metrics(tmp_path), 0.3) == {"federated_iid": {"tank_screw": value}}
    assert extract_auc_spro(load_metrics(tmp_path), 0.2) == {"federated_iid": {}}


def test_wrapper_writes_the_same(tmp_path):
    wrapper = add_all(MetricsWrapper(**NAMES), tiny_shots())
    threshold = calibrate_threshold([0.5, 1.5], 0.05)
    path = wrapper.save(tmp_path, threshold)
    expected = build_metrics(
        add_all(ExactEvaluation(), tiny_shots()).compute(), threshold=threshold, **NAMES
    )
    assert json.loads(path.read_text()) == expected == wrapper.compute(threshold)


def test_broken_files_are_named(tmp_path):
    result = add_all(ExactEvaluation(), tiny_shots()).compute()
    for category in ("a", "b", "c"):
        metrics = build_metrics(result, **(NAMES | {"category": category}))
        path = write_metrics(tmp_path, metrics, {})
        if category == "b":
            path.write_text("{")
        if category == "c":
            path.unlink()
    with pytest.raises(
        InputError, match=r"b/metrics.json: cannot be read.*c/metrics.json: is miss"
    ):
        load_metrics(tmp_path)
    problems: list[str] = []
    assert list(load_metrics(tmp_path, problems=problems)["federated_iid"]) == ["a"]
    assert len(problems) == 2
    with pytest.raises(InputError, match="holds no metrics"):
        load_metrics(tmp_path / "evaluation" / "metrics" / "federated_iid" / "a")


def test_two_runs_of_one_method_are_refused(tmp_path):
    result = add_all(ExactEvaluation(), tiny_shots()).compute()
    for run in ("one", "two"):
        write_metrics(tmp_path / run, build_metrics(result, **NAMES), {})
    with pytest.raises(InputError, match="keep one of the two"):
        load_metrics(tmp_path)


@pytest.mark.parametrize("category", ["", "..", "a/b", ".hidden"])
def test_names_cannot_leave_their_folder(tmp_path, category):
    result = add_all(ExactEvaluation(), tiny_shots()).compute()
    with pytest.raises(ValueError, match="cannot be the name"):
        write_metrics(tmp_path, build_metrics(result, **(NAMES | {"category": category})), {})
