"""Images through a model, and what that says: the same steps for every kind of run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from common.data.defects import load_regions
from common.data.layout import DataIndex, Sample
from common.evaluation.calibration_report import (
    CalibrationReport,
    StationScores,
    report_calibration,
)
from common.evaluation.exact import ExactEvaluation
from common.evaluation.mergeable.counts import EvaluationCounts
from common.evaluation.result import EvaluationResult
from common.evaluation.thresholds import Threshold, calibrate_threshold
from common.patchcore import PatchCore, Prediction

Evaluation = TypeVar("Evaluation", EvaluationCounts, ExactEvaluation)
Watcher = Callable[[Sample, Prediction], None]


@dataclass(frozen=True)
class CategoryResult:
    """What an evaluation found in one category, with the threshold that belongs to it.

    Attributes
    ----------
    category : str
    result : EvaluationResult
    held_out : sequence of float, or None
        Scores that the threshold rests on, ascending; None where no threshold was looked for.
    threshold : Threshold or None
    calibration : CalibrationReport
    """

    category: str
    result: EvaluationResult
    held_out: Sequence[float] | None
    threshold: Threshold | None
    calibration: CalibrationReport

    def remarks(self) -> list[str]:
        """Say what is not there."""
        found = []
        if not self.result.image_scores.size:
            found.append(f"no test image of {self.category}: it was not evaluated")
        if self.held_out is not None and self.threshold is None:
            found.append(f"no held-out good image of {self.category}: it has no threshold")
        return found


@dataclass(frozen=True)
class StationJudgement:
    """What a station's own images say, by category.

    Attributes
    ----------
    counts : dict of category to EvaluationCounts
        Empty ones for categories of which the station has held-out images alone.
    scores : dict of category to StationScores
    without_bank : list of str
        Categories of the station that no bank can judge.
    """

    counts: dict[str, EvaluationCounts] = field(default_factory=dict)
    scores: dict[str, StationScores] = field(default_factory=dict)
    without_bank: list[str] = field(default_factory=list)


def evaluate_samples(
    model: PatchCore,
    index: DataIndex,
    samples: Sequence[Sample],
    evaluation: Evaluation,
    watch: Watcher | None = None,
) -> Evaluation:
    """Judge test images of one category and count the outcome.

    Parameters
    ----------
    model : PatchCore
    index : DataIndex
        Of the folder that the samples come from.
    samples : sequence of Sample
        All of one category; may be empty.
    evaluation : EvaluationCounts or ExactEvaluation
        Updated in place.
    watch : callable (sample, prediction), optional
        Called for every image, for progress and for saving maps.

    Returns
    -------
    EvaluationCounts or ExactEvaluation
        The one given.

    Notes
    -----
    One map is in memory at a time, beside what the evaluation keeps.
    """
    if not samples:
        return evaluation
    category = index.categories[samples[0].category]
    predictions = model.predict_each([sample.path for sample in samples], category.name)
    for sample, prediction in zip(samples, predictions, strict=True):
        height, width = prediction.anomaly_map.shape
        evaluation.update(
            prediction.anomaly_map,
            load_regions(sample, category, (height, width)),
            label=sample.label,
            score=prediction.score,
            defect_type=sample.defect_type,
        )
        if watch is not None:
            watch(sample, prediction)
    return evaluation


def judge(
    model: PatchCore,
    index: DataIndex,
    category: str,
    test: Sequence[Sample],
    held_out: Sequence[Sample],
    evaluation: Evaluation,
    watch: Watcher | None = None,
) -> StationScores:
    """Judge the test images of one category, and those held out for its threshold.

    Parameters
    ----------
    model, index, watch
        As in `evaluate_samples`.
    category : str
        One that the model can judge.
    test, held_out : sequences of Sample
        Of any categories; the others are left out.
    evaluation : EvaluationCounts or ExactEvaluation
        A new one; updated in place.

    Returns
    -------
    StationScores
        Image scores, ascending.
    """
    test = [sample for sample in test if sample.category == category]
    evaluate_samples(model, index, test, evaluation, watch)
    paths = [sample.path for sample in held_out if sample.category == category]
    return StationScores(
        held_out=sorted(prediction.score for prediction in model.predict_each(paths, category)),
        good=evaluation.image_scores(0),
        defective=evaluation.image_scores(1),
    )


def judge_station(
    model: PatchCore,
    index: DataIndex,
    test: Sequence[Sample],
    held_out: Sequence[Sample],
    watch: Watcher | None = None,
    *,
    score_test: bool = True,
) -> StationJudgement:
    """Judge all images of one place, category by category, into counts that can be merged.

    Parameters
    ----------
    model, index, watch
        As in `evaluate_samples`.
    test, held_out : sequences of Sample
    score_test : bool
        False leaves the test images unjudged, but not their categories out.

    Returns
    -------
    StationJudgement
    """
    found, scored = StationJudgement(), test if score_test else ()
    for category in sorted({sample.category for sample in (*test, *held_out)}):
        if not model.can_judge(category):
            found.without_bank.append(category)
            continue
        counts = found.counts[category] = EvaluationCounts()
        found.scores[category] = judge(model, index, category, scored, held_out, counts, watch)
    return found


def conclude(
    category: str,
    evaluation: EvaluationCounts | ExactEvaluation,
    held_out: Sequence[float] | None = None,
    rule: float | Threshold | None = None,
    *,
    stations: Mapping[str, StationScores] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> CategoryResult:
    """Metrics, threshold and drift of one category.

    Parameters
    ----------
    category : str
    evaluation : EvaluationCounts or ExactEvaluation
    held_out : sequence of float, optional
        Scores of the images held out of the bank; without it there is no threshold.
    rule : float or Threshold, optional
        The false alarm rate to choose a threshold for, or the threshold that is in use already.
    stations : mapping of station to StationScores, optional
        To compare each of them with the others.
    kinds : mapping of defect type to kind, optional
        For defect types that are not AutoVI's.

    Returns
    -------
    CategoryResult
    """
    result = evaluation.compute(kinds=kinds)
    scores = sorted(held_out or ())
    threshold = calibrate_threshold(scores, rule) if isinstance(rule, float) else rule
    good = result.image_scores[result.image_labels == 0].tolist()
    report = report_calibration(threshold, scores, good, stations)
    return CategoryResult(category, result, None if held_out is None else scores, threshold, report)
