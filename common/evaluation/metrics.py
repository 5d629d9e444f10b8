"""From an evaluation's result to the content of `metrics.json` and `curve.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.regions import Region
from common.evaluation.calibration_report import CalibrationReport
from common.evaluation.exact import ExactEvaluation
from common.evaluation.kinds import LOGICAL, STRUCTURAL
from common.evaluation.metrics_files import write_metrics
from common.evaluation.result import EvaluationResult, ScopeResult
from common.evaluation.thresholds import Threshold


def build_metrics(
    result: EvaluationResult,
    *,
    method: str,
    category: str,
    threshold: Threshold | None = None,
    calibration: CalibrationReport | None = None,
    synthetic_data: bool,
    weights: str,
) -> dict[str, Any]:
    """Lay a result out as the content of `metrics.json`.

    Parameters
    ----------
    result : EvaluationResult
        From `EvaluationCounts.compute` or `ExactEvaluation.compute`.
    method : str
        Such as `centralized` or `federated_iid`.
    category : str
        The part.
    threshold : Threshold, optional
        From `calibrate_threshold`; its rates on the test images are added.
    calibration : CalibrationReport, optional
        What lies beside the threshold: drift, and the stations each by itself.
    synthetic_data : bool
        Whether the images are the synthetic ones.
    weights : str
        What the backbone's weights are, such as `imagenet` or `random (seed 42)`.

    Returns
    -------
    dict
        JSON values only. What cannot be computed is absent; `not_computed` has its dotted key
        and the reason.
    """
    not_computed = dict(result.overall.not_computed)
    per_type = {}
    for name, scope in result.per_defect_type.items():
        per_type[name] = {"kind": result.kinds[name], **_scope_metrics(scope)}
        _add_reasons(not_computed, f"per_defect_type.{name}", scope)
    per_kind = {}
    for kind in (STRUCTURAL, LOGICAL):
        found = result.per_anomaly_kind.get(kind)
        if found is None:
            not_computed[f"per_anomaly_kind.{kind}"] = f"no defect type is known to be {kind}"
        else:
            per_kind[kind] = _scope_metrics(found)
            _add_reasons(not_computed, f"per_anomaly_kind.{kind}", found)
    metrics: dict[str, Any] = {
        "method": method,
        "category": category,
        "synthetic_data": synthetic_data,
        "weights": weights,
        **_scope_metrics(result.overall),
        "per_defect_type": per_type,
        "per_anomaly_kind": per_kind,
    }
    if threshold is None:
        not_computed["threshold"] = "no good images were held out"
    else:
        metrics["threshold"] = _threshold_metrics(threshold, result, not_computed)
        if calibration is not None:
            metrics["threshold"] |= calibration.to_json()
    evaluation: dict[str, Any] = {
        "method": result.method,
        "auc_error_bound": _by_name(result.overall.auc_error_bound),
    }
    if result.overall.pixel_auc_roc_error_bound is not None:
        evaluation["pixel_auc_roc_error_bound"] = result.overall.pixel_auc_roc_error_bound
    metrics["evaluation"] = evaluation
    metrics["not_computed"] = not_computed
    return metrics


def build_curves(result: EvaluationResult) -> dict[str, Any]:
    """Lay the FPR-sPRO curves out as the content of `curve.json`.

    Returns
    -------
    dict
        `fpr` and `mean_spro` (absent if there is no curve), and the same for every member of
        `per_defect_type` and `per_anomaly_kind` that has a curve.
    """
    return {
        **_curve_points(result.overall),
        "per_defect_type": {
            name: _curve_points(scope)
            for name, scope in result.per_defect_type.items()
            if scope.curve is not None
        },
        "per_anomaly_kind": {
            kind: _curve_points(scope)
            for kind, scope in result.per_anomaly_kind.items()
            if scope.curve is not None
        },
    }


class MetricsWrapper:
    """Collects the predictions of one category and yields its `metrics.json`.

    Parameters
    ----------
    category, method, synthetic_data, weights
        As in `build_metrics`.
    kinds : mapping of str to str, optional
        As in `EvaluationCounts.compute`.

    Examples
    --------
    >>> import numpy as np
    >>> from common.evaluation import MetricsWrapper
    >>> wrapper = MetricsWrapper("tank_screw", method="centralized", weights="imagenet")
    >>> wrapper.update(np.zeros((4, 6)), [], label=0, score=0.0, defect_type="good")
    >>> metrics = wrapper.compute()
    >>> metrics["counts"]["good_images"], metrics["not_computed"]["classification.auc_roc"]
    (1, 'no defective images')
    """

    def __init__(
        self,
        category: str,
        *,
        method: str,
        synthetic_data: bool = False,
        weights: str,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self.category = category
        self.method = method
        self.synthetic_data = synthetic_data
        self.weights = weights
        self.kinds = kinds
        self._evaluation = ExactEvaluation()

    def update(
        self,
        anomaly_map: NDArray[Any],
        regions: Sequence[Region] | None,
        *,
        label: int,
        score: float,
        defect_type: str,
    ) -> None:
        """Take in one prediction: parameters and errors are those of `EvaluationCounts.update`."""
        self._evaluation.update(
            anomaly_map, regions, label=label, score=score, defect_type=defect_type
        )

    def compute(self, threshold: Threshold | None = None) -> dict[str, Any]:
        """The metrics of all predictions so far, exact, as `build_metrics` lays them out."""
        return self._build(self._evaluation.compute(kinds=self.kinds), threshold)

    def save(self, folder: Path, threshold: Threshold | None = None) -> Path:
        """Write `metrics.json` and `curve.json` below a run folder; returns the first's path."""
        result = self._evaluation.compute(kinds=self.kinds)
        return write_metrics(folder, self._build(result, threshold), build_curves(result))

    def _build(self, result: EvaluationResult, threshold: Threshold | None) -> dict[str, Any]:
        return build_metrics(
            result,
            method=self.method,
            category=self.category,
            threshold=threshold,
            synthetic_data=self.synthetic_data,
            weights=self.weights,
        )


def _scope_metrics(scope: ScopeResult) -> dict[str, Any]:
    """`localization`, `classification` and `counts` of one scope."""
    localization: dict[str, Any] = {}
    if scope.auc_spro:
        localization["auc_spro"] = _by_name(scope.auc_spro)
    if scope.pixel_auc_roc is not None:
        localization["pixel_auc_roc"] = scope.pixel_auc_roc
    classification: dict[str, Any] = {}
    if scope.auc_roc is not None:
        classification["auc_roc"] = scope.auc_roc
    if scope.average_precision is not None:
        classification["average_precision"] = scope.average_precision
    if scope.tpr_at_tnr:
        classification["tpr_at_tnr"] = _by_name(scope.tpr_at_tnr)
    return {
        "localization": localization,
        "classification": classification,
        "counts": dict(scope.counts),
    }


def _threshold_metrics(
    threshold: Threshold, result: EvaluationResult, not_computed: dict[str, str]
) -> dict[str, Any]:
    """The threshold and what it does on the test images."""
    entry: dict[str, Any] = {
        "value": threshold.value,
        "target_false_alarm_rate": threshold.target_false_alarm_rate,
        "promised_false_alarm_rate": threshold.promised_false_alarm_rate,
        "upper_false_alarm_rate": threshold.upper_false_alarm_rate,
        "held_out_images": threshold.held_out_images,
        "note": threshold.note,
    }
    if threshold.promised_with_liar is not None:
        entry["promised_with_liar"] = threshold.promised_with_liar
    above = result.image_scores > threshold.value
    for label, key, images in (
        (0, "false_alarm_rate_on_test", "good"),
        (1, "detection_rate_on_test", "defective"),
    ):
        chosen = above[result.image_labels == label]
        if chosen.size:
            entry[key] = float(np.mean(chosen))
        else:
            not_computed[f"threshold.{key}"] = f"no {images} images"
    return entry


def _add_reasons(not_computed: dict[str, str], prefix: str, scope: ScopeResult) -> None:
    for key, reason in scope.not_computed.items():
        not_computed[f"{prefix}.{key}"] = reason


def _by_name(values: Mapping[float, float]) -> dict[str, float]:
    """Rates as JSON names: `0.05`, `1.0`."""
    return {str(rate): value for rate, value in values.items()}


def _curve_points(scope: ScopeResult) -> dict[str, Any]:
    if scope.curve is None:
        return {}
    return {"fpr": scope.curve.fpr.tolist(), "mean_spro": scope.curve.mean_spro.tolist()}
