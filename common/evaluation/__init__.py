"""Exact and mergeable evaluation: AUC-sPRO, AUROC, thresholds, metrics files."""

from common.evaluation.counts import EvaluationCounts
from common.evaluation.exact import ExactEvaluation
from common.evaluation.result import EvaluationResult, ScopeResult

__all__ = ["EvaluationCounts", "EvaluationResult", "ExactEvaluation", "ScopeResult"]
