"""Images through a model, and what that says: the same steps for every kind of run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from common.data.defects import load_regions
from common.data.layout import DataIndex, Sample
from common.errors import reason
from common.evaluation.calibration_report import (
    CalibrationReport,
    StationScores,
    report_calibration,
)
from common.evaluation.defect_sizes import DefectSize, defect_size, small_defects
from common.evaluation.exact import ExactEvaluation
from common.evaluation.mergeable.counts import EvaluationCounts
from common.evaluation.result import EvaluationResult
from common.evaluation.thresholds import Threshold, calibrate_threshold
from common.patchcore import PatchCore, Prediction
from common.patchcore.exact.device import DeviceUnfit
from common.patchcore.network.feature_space import FeatureSpace

Evaluation = EvaluationCounts | ExactEvaluation
Kind = TypeVar("Kind", EvaluationCounts, ExactEvaluation)
Watcher = Callable[[Sample, Prediction], None]


@dataclass(frozen=True)
class CategoryResult:
    """What was found in one category; `held_out` is None where no threshold was looked for."""

    category: str
    result: EvaluationResult
    held_out: Sequence[float] | None
    threshold: Threshold | None
    calibration: CalibrationReport

    def remarks(self, known: Collection[str] = ()) -> list[str]:
        """Say what is not there, unless why its `test` or `held-out` images are not is known."""
        found = []
        if not self.result.image_scores.size and "test" not in known:
            found.append(f"no test image of {self.category}: it was not evaluated")
        if self.held_out is not None and self.threshold is None and "held-out" not in known:
            found.append(f"no held-out good image of {self.category}: it has no threshold")
        return found


@dataclass(frozen=True)
class Judged(Generic[Kind]):
    """What came of the images of one category.

    Attributes
    ----------
    evaluation : EvaluationCounts or ExactEvaluation
        Of all test images, or empty.
    held_out : list of float
        Scores of all held-out images, ascending, or none.
    faults : dict of `test` or `held-out` to Exception
        What kept these images from being judged.
    defects : list of DefectSize
        Of all annotated defects of the test images.
    """

    evaluation: Kind
    held_out: list[float]
    faults: dict[str, Exception]
    defects: list[DefectSize] = field(default_factory=list)


@dataclass(frozen=True)
class StationJudgement:
    """What a station's own images say, by category, and what no bank can judge.

    `faults` and `defects` are those of `Judged`.
    """

    counts: dict[str, EvaluationCounts] = field(default_factory=dict)
    scores: dict[str, StationScores] = field(default_factory=dict)
    without_bank: list[str] = field(default_factory=list)
    faults: dict[str, dict[str, Exception]] = field(default_factory=dict)
    defects: dict[str, list[DefectSize]] = field(default_factory=dict)


def evaluate_predictions(
    index: DataIndex,
    samples: Sequence[Sample],
    predictions: Iterable[Prediction],
    evaluation: Evaluation,
    watch: Watcher | None = None,
    defects: list[DefectSize] | None = None,
) -> None:
    """Count what came out for test images.

    Parameters
    ----------
    index : DataIndex
        Of the folder that the samples come from.
    samples, predictions
        One for one; of predictions made on the way one map is in memory at a time.
    evaluation : EvaluationCounts or ExactEvaluation
        Updated in place.
    watch : callable (sample, prediction), optional
        Called for every image, for progress and for saving maps.
    defects : list of DefectSize, optional
        The size of every annotated defect is added: the masks are at hand here, once.
    """
    for sample, prediction in zip(samples, predictions, strict=True):
        height, width = prediction.anomaly_map.shape
        regions = load_regions(sample, index.categories[sample.category], (height, width))
        if defects is not None:
            defects += [defect_size(region.mask) for region in regions or ()]
        evaluation.update(
            prediction.anomaly_map,
            regions,
            label=sample.label,
            score=prediction.score,
            defect_type=sample.defect_type,
        )
        if watch is not None:
            watch(sample, prediction)


def judge(
    model: PatchCore,
    index: DataIndex,
    category: str,
    test: Sequence[Sample],
    held_out: Sequence[Sample],
    kind: Callable[[], Kind],
    watch: Watcher | None = None,
) -> Judged[Kind]:
    """Judge the test images of a category that the model has a bank for, and the held-out ones.

    Of samples of other categories nothing is done; `index` and `watch` are those of
    `evaluate_predictions`, `kind` makes the evaluation. An image that cannot be judged is no end
    of the run: the bank is there. All features are of one device: should a GPU fail half-way, all
    is counted and watched again, with features of the CPU.
    """
    own = [sample for sample in test if sample.category == category]
    paths = [sample.path for sample in held_out if sample.category == category]

    def count() -> Judged[Kind]:
        evaluation, scores, defects = kind(), list[float](), list[DefectSize]()
        faults: dict[str, Exception] = {}
        with noting(faults, "test"):
            predictions = model.predict_each([sample.path for sample in own], category)
            evaluate_predictions(index, own, predictions, evaluation, watch, defects)
        with noting(faults, "held-out"):
            scores = sorted(one.score for one in model.predict_each(paths, category))
        if "test" in faults:
            evaluation, defects = kind(), []
        return Judged(evaluation, scores, faults, defects)

    return model.source.whole(count)


@contextmanager
def noting(faults: dict[str, Exception], what: str) -> Iterator[None]:
    """Note what goes wrong, but for a device whose work the CPU will do again."""
    try:
        yield
    except DeviceUnfit:
        raise
    except Exception as error:
        faults[what] = error


def judge_station(
    model: PatchCore,
    index: DataIndex,
    test: Sequence[Sample],
    held_out: Sequence[Sample],
    watch: Watcher | None = None,
    *,
    score_test: bool = True,
) -> StationJudgement:
    """Judge all images of one place into counts that can be merged; parameters as in `judge`.

    Without `score_test` no test image is judged, but its category is not left out.
    """
    found, scored = StationJudgement(), test if score_test else ()
    for category in sorted({sample.category for sample in (*test, *held_out)}):
        if not model.can_judge(category):
            found.without_bank.append(category)
            continue
        judged = judge(model, index, category, scored, held_out, EvaluationCounts, watch)
        found.counts[category] = counts = judged.evaluation
        good, defective = counts.image_scores(0), counts.image_scores(1)
        found.scores[category] = StationScores(judged.held_out, good, defective)
        found.defects[category] = judged.defects
        if judged.faults:
            found.faults[category] = judged.faults
    return found


def resolution_notices(
    defects: Mapping[str, Sequence[DefectSize]], space: FeatureSpace
) -> list[str]:
    """Say of every category how many defects are smaller than a patch; names no file."""
    stride = space.stride
    return [
        f"{category}: {small.sentence}"
        for category, sizes in sorted(defects.items())
        if (small := small_defects(sizes, stride, space.image_size)) is not None
    ]


def left_out(place: str, faults: Mapping[str, object]) -> list[str]:
    """Say which images of a place were not judged, and why; see `Judged.faults`."""
    return [
        f"{place}: its {what} images were not evaluated: "
        f"{reason(fault) if isinstance(fault, Exception) else fault}"
        for what, fault in faults.items()
    ]


def conclude(
    category: str,
    evaluation: Evaluation,
    held_out: Sequence[float] | None = None,
    rule: float | Threshold | None = None,
    *,
    stations: Mapping[str, StationScores] | None = None,
    kinds: Mapping[str, str] | None = None,
    stale: bool = False,
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
    stale : bool
        Whether the bank has grown since the threshold in use was calibrated.
    """
    result = evaluation.compute(kinds=kinds)
    scores = None if held_out is None else sorted(held_out)
    threshold = calibrate_threshold(scores or (), rule) if isinstance(rule, float) else rule
    good = result.image_scores[result.image_labels == 0].tolist()
    report = report_calibration(threshold, scores or (), good, stations, stale=stale)
    return CategoryResult(category, result, scores, threshold, report)
