"""Exact and mergeable evaluation: AUC-sPRO, AUROC, thresholds, metrics files."""

from common.evaluation.calibration_report import (
    CalibrationReport,
    StationScores,
    promise_notice,
    report_calibration,
)
from common.evaluation.exact import ExactEvaluation
from common.evaluation.kinds import anomaly_kind, read_kinds
from common.evaluation.map_export import MapExporter
from common.evaluation.maps import find_maps, read_map, read_scale
from common.evaluation.mergeable.counts import EvaluationCounts
from common.evaluation.merged_threshold import merge_thresholds
from common.evaluation.metrics import MetricsWrapper, build_curves, build_metrics
from common.evaluation.metrics_files import extract_auc_spro, load_metrics, write_metrics
from common.evaluation.result import EvaluationResult, ScopeResult
from common.evaluation.thresholds import Threshold, calibrate_threshold

__all__ = [
    "CalibrationReport",
    "EvaluationCounts",
    "EvaluationResult",
    "ExactEvaluation",
    "MapExporter",
    "MetricsWrapper",
    "ScopeResult",
    "StationScores",
    "Threshold",
    "anomaly_kind",
    "build_curves",
    "build_metrics",
    "calibrate_threshold",
    "extract_auc_spro",
    "find_maps",
    "load_metrics",
    "merge_thresholds",
    "promise_notice",
    "read_kinds",
    "read_map",
    "read_scale",
    "report_calibration",
    "write_metrics",
]
