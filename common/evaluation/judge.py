"""Images through a model, and what that says: the same steps for every kind of run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
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
from common.evaluation.held_out.fence import within_fence
from common.evaluation.mergeable.counts import EvaluationCounts
from common.evaluation.mergeable.owner_scores import OwnerNotes, OwnerScores
from common.evaluation.merged_threshold import merge_thresholds
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
    """What was found in one category; `held_out` is None where no threshold was looked for.

    Of the held-out scores those are there that the threshold rests on. `beyond_fence` tells how
    many more there were at which station, "" for images in one place.
    """

    category: str
    result: EvaluationResult
    held_out: Sequence[float] | None
    threshold: Threshold | None
    calibration: CalibrationReport
    beyond_fence: dict[str, int] = field(default_factory=dict)

    def remarks(self, known: Collection[str] = ()) -> list[str]:
        """Say what is not there, unless why its `test` or `held-out` images are not is known."""
        found = []
        if not self.result.image_scores.size and "test" not in known:
            found.append(f"no test image of {self.category}: it was not evaluated")
        if self.held_out is not None and self.threshold is None and "held-out" not in known:
            found.append(f"no held-out good image of {self.category}: it has no threshold")
        limit = None if self.threshold is None else self.threshold.fence
        for name, count in sorted(self.beyond_fence.items()):
            where = f" at {name}" if name else ""
            found.append(
                f"{self.category}: {count_of(count, 'held-out image')}{where} scored beyond "
                f"{limit:.4g}, where no good part is expected; the threshold is computed without"
            )
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
    without : OwnerScores or None
        Where the bank knows who brought its rows, several of them.
    held_out_samples : list of Sample
        Whose the scores in `held_out` are, one for one.
    """

    evaluation: Kind
    held_out: list[float]
    faults: dict[str, Exception]
    defects: list[DefectSize] = field(default_factory=list)
    without: OwnerScores | None = None
    held_out_samples: list[Sample] = field(default_factory=list)

    def farthest(self) -> list[tuple[Sample, float, bool]]:
        """The held-out images of the highest scores, and whether they lie beyond their own fence.

        All beyond it and three more, highest first: for who has their files.
        """
        divided = within_fence(self.held_out)
        count = divided.beyond.size + 3
        pairs = list(zip(self.held_out_samples, self.held_out, strict=True))[-count:][::-1]
        return [
            (one, score, place < divided.beyond.size) for place, (one, score) in enumerate(pairs)
        ]


@dataclass(frozen=True)
class StationJudgement:
    """What a station's own images say, by category, and what no bank can judge.

    `faults`, `defects`, `farthest` and `without` are those of `Judged`; `held_out` has the score of
    each held-out image by its file.
    """

    counts: dict[str, EvaluationCounts] = field(default_factory=dict)
    scores: dict[str, StationScores] = field(default_factory=dict)
    without_bank: list[str] = field(default_factory=list)
    faults: dict[str, dict[str, Exception]] = field(default_factory=dict)
    defects: dict[str, list[DefectSize]] = field(default_factory=dict)
    without: dict[str, OwnerScores] = field(default_factory=dict)
    held_out: dict[str, dict[Path, float]] = field(default_factory=dict)
    farthest: dict[str, list[tuple[Sample, float, bool]]] = field(default_factory=dict)


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
    kept_out = [sample for sample in held_out if sample.category == category]

    def count() -> Judged[Kind]:
        evaluation, defects = kind(), list[DefectSize]()
        scored = list[tuple[float, int]]()
        faults: dict[str, Exception] = {}
        owners = OwnerNotes()
        with noting(faults, "test"):
            predictions = model.predict_each([sample.path for sample in own], category)
            predictions = owners.tested(own, predictions)
            evaluate_predictions(index, own, predictions, evaluation, watch, defects)
        with noting(faults, "held-out"):
            held = owners.held_out(
                model.predict_each([sample.path for sample in kept_out], category)
            )
            scored = sorted((one.score, place) for place, one in enumerate(held))
        if "test" in faults:
            evaluation, defects = kind(), []
        for what in faults:
            owners.forget(what)
        return Judged(
            evaluation,
            [score for score, _ in scored],
            faults,
            defects,
            owners.scores(),
            [kept_out[place] for _, place in scored],
        )

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
    unusable: Mapping[str, Mapping[str, Exception]] | None = None,
) -> StationJudgement:
    """Judge all images of one place into counts that can be merged; parameters as in `judge`.

    Without `score_test` no test image is judged, but its category is not left out. `unusable`
    tells by category why its `test` or `held-out` images are not to be judged at all.
    """
    found, scored = StationJudgement(), test if score_test else ()
    known = unusable or {}
    scored = [one for one in scored if "test" not in known.get(one.category, {})]
    held_out = [one for one in held_out if "held-out" not in known.get(one.category, {})]
    for category in sorted({sample.category for sample in (*test, *held_out)} | set(known)):
        if not model.can_judge(category):
            found.without_bank.append(category)
            continue
        judged = judge(model, index, category, scored, held_out, EvaluationCounts, watch)
        found.counts[category] = counts = judged.evaluation
        good, defective = counts.image_scores(0), counts.image_scores(1)
        found.scores[category] = StationScores(judged.held_out, good, defective)
        found.defects[category] = judged.defects
        found.farthest[category] = judged.farthest()
        paths = [one.path for one in judged.held_out_samples]
        found.held_out[category] = dict(zip(paths, judged.held_out, strict=True))
        if judged.without is not None:
            found.without[category] = judged.without
        if faults := {**judged.faults, **known.get(category, {})}:
            found.faults[category] = faults
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


def _choose(
    scores: Sequence[float],
    rate: float,
    stations: Mapping[str, StationScores] | None,
    fenced: bool,
) -> Threshold | None:
    """The threshold for a rate: of one place, or of several stations that may not all be right."""
    if not stations:
        return calibrate_threshold(scores, rate, fenced=fenced)
    held_out = {name: own.held_out for name, own in stations.items()}
    return merge_thresholds(held_out, rate, fenced=fenced)


def _rests_on_suspected(
    threshold: Threshold | None, suspected: Mapping[str, int], fenced: bool
) -> Threshold | None:
    """Add to a threshold's note that the audit suspects some of the images that it rests on."""
    count = sum(suspected.values())
    if threshold is None or not count or not fenced:
        return threshold
    where = [f"{number} at {name}" for name, number in sorted(suspected.items()) if name and number]
    told = f" ({', '.join(where)})" if where else ""
    return replace(
        threshold,
        note=f"{threshold.note} The audit suspects {count_of(count, 'held-out image')}{told}: "
        "unlike the other images there, which name they have is told there; unless its score lies "
        "beyond the fence the threshold rests on it.",
    )


def conclude(
    category: str,
    evaluation: Evaluation,
    held_out: Sequence[float] | None = None,
    rule: float | Threshold | None = None,
    *,
    stations: Mapping[str, StationScores] | None = None,
    kinds: Mapping[str, str] | None = None,
    stale: bool = False,
    fenced: bool = False,
    suspected: int = 0,
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
        To compare each of them with the others, and to choose a threshold that no single one of
        them moves (`merge_thresholds`); `held_out` is what they held out together then.
    kinds : mapping of defect type to kind, optional
        For defect types that are not AutoVI's.
    stale : bool
        Whether the bank has grown since the threshold in use was calibrated.
    fenced : bool
        Whether a threshold that is chosen here leaves out scores beyond the fence: all runs do,
        but with `audit-good=off`.
    suspected : int
        Of images in one place: how many of the held-out ones the audit suspects. Stations tell
        their own (`StationScores.suspected`).
    """
    result = evaluation.compute(kinds=kinds)
    scores = None if held_out is None else sorted(held_out)
    beyond: dict[str, int] = {}
    if isinstance(rule, Threshold) or rule is None:
        threshold = rule
    else:
        threshold = _choose(scores or (), rule, stations, fenced)
        whose = {name: own.held_out for name, own in (stations or {}).items()} or {"": scores or ()}
        fence = None if threshold is None else threshold.fence
        if fence is not None:
            beyond = {name: sum(one > fence for one in own) for name, own in whose.items()}
            scores = [one for one in scores or () if one <= fence]
        told = {name: own.suspected for name, own in (stations or {}).items()} or {"": suspected}
        threshold = _rests_on_suspected(threshold, told, fenced)
    good = result.image_scores[result.image_labels == 0].tolist()
    report = report_calibration(threshold, scores or (), good, stations, stale=stale, fenced=fenced)
    beyond = {name: count for name, count in beyond.items() if count}
    return CategoryResult(category, result, scores, threshold, report, beyond)


def count_of(count: int, what: str) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {what}{'' if count == 1 else 's'}"
