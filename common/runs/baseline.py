"""The centralized baseline: all images in one place, as the federated runs are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.config import Settings
from common.data.holdout import split_holdout
from common.data.layout import DataIndex, Sample
from common.data.partition import make_partition
from common.errors import InputError, reason
from common.evaluation import ExactEvaluation, calibrate_threshold, report_calibration
from common.evaluation.judge import evaluate_samples
from common.patchcore import PatchCore, Prediction
from common.patchcore.model_store import SHARED, SavedModel
from common.patchcore.network.feature_cache import FeatureCache
from common.paths import cache_folder
from common.runs.output import CategoryResult, RunRecord, threshold_facts, write_run

METHOD: Final = "centralized"
CACHE_BYTES: Final = 20 * 2**30

Listener = Callable[[str, str, int, int], None]
"""Called with (category, step, images done, images)."""


@dataclass
class BaselineResult:
    """What came of each category.

    Attributes
    ----------
    record : RunRecord
    summary : dict of category to facts
        Content of `training_summary.json`.
    errors : dict of category to exception
        Categories that failed.
    """

    record: RunRecord
    summary: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)


def run_baseline(
    settings: Settings, index: DataIndex, out: Path, on_progress: Listener | None = None
) -> BaselineResult:
    """Fit and evaluate PatchCore on all images of a data folder, category by category.

    Parameters
    ----------
    settings : Settings
        With `weights` resolved. In scope `category` every category has a bank of its own, of
        min(ceil(ratio x patches), `global-bank-size`) rows; in scope `shared` one bank of that
        size serves all.
    index : DataIndex
    out : Path
        The run folder; an earlier run there is moved aside.
    on_progress : callable, optional

    Returns
    -------
    BaselineResult
        A failing category does not stop the others.

    Raises
    ------
    FedPatchCoreError
        If every category failed: the first one's error, after the failed run has been written.

    Notes
    -----
    The images held out of the bank are those that the stations of the same partition and seed
    would hold out, so that a comparison differs in the federation alone.
    """
    started = datetime.now(UTC)
    cache = FeatureCache(cache_folder("simulation", "features"), CACHE_BYTES)
    model = PatchCore(settings, cache=cache)
    bank_samples, held_out = centralized_holdout(index, settings)
    record = RunRecord(settings, METHOD, started, synthetic=index.synthetic, space=model.space)
    result = BaselineResult(record)
    work = _Work(model, index, bank_samples, held_out, result, on_progress)
    if settings.bank_scope == "shared":
        work.fit(SHARED, bank_samples)
    for category in index.categories:
        work.run_category(category)
    record.training_summary = result.summary
    _finish(work, settings)
    write_run(record, out)
    if result.errors and not record.evaluated:
        raise next(iter(result.errors.values()))
    return result


def centralized_holdout(index: DataIndex, settings: Settings) -> tuple[list[Sample], list[Sample]]:
    """Training images for the bank, and those that the stations together would hold out."""
    train = index.select("train")
    if len(train) < settings.num_stations:
        return split_holdout(train, settings.calibration_fraction)
    partition = make_partition(
        index.samples,
        settings.partition,
        settings.num_stations,
        settings.seed,
        settings.dirichlet_alpha,
    )
    held: set[str] = set()
    for indices in partition.indices.values():
        own = [index.samples[i] for i in indices if index.samples[i].split == "train"]
        held |= {
            str(sample.path) for sample in split_holdout(own, settings.calibration_fraction)[1]
        }
    return (
        [sample for sample in train if str(sample.path) not in held],
        [sample for sample in train if str(sample.path) in held],
    )


class _Work:
    """One baseline in progress."""

    def __init__(
        self,
        model: PatchCore,
        index: DataIndex,
        bank_samples: Sequence[Sample],
        held_out: Sequence[Sample],
        result: BaselineResult,
        on_progress: Listener | None,
    ) -> None:
        self.model, self.index, self.result = model, index, result
        self.bank_samples, self.held_out = bank_samples, held_out
        self.on_progress = on_progress
        self.thresholds: dict[str, Any] = {}
        self.calibration: dict[str, list[float]] = {}

    def run_category(self, category: str) -> None:
        """Fit (in scope `category`) and evaluate; an error is noted, not raised."""
        started = time.monotonic()
        facts: dict[str, Any] = {"status": "completed"}
        try:
            own = [sample for sample in self.bank_samples if sample.category == category]
            if SHARED not in self.model.banks:
                self.fit(category, own)
            name = self.model.bank_name(category)
            facts["memory_bank_size"] = len(self.model.banks[name])
            facts["feature_dim"] = self.model.extractor.feature_dim
            facts["training_images"] = len(own)
            self._evaluate(category)
        except Exception as error:
            self.result.errors[category] = error
            self.model.banks.pop(category, None)
            facts = {"status": "failed", "error": reason(error)}
            self.result.record.notices.append(f"{category} failed: {reason(error)}")
        facts["seconds"] = round(time.monotonic() - started, 3)
        self.result.summary[category] = facts

    def fit(self, bank: str, samples: Sequence[Sample]) -> None:
        """Build one bank."""
        if not samples:
            raise InputError(f"category {bank}: no training image; expected {bank}/train/good/...")
        started = time.monotonic()
        self.model.fit(
            [sample.path for sample in samples],
            None if bank == SHARED else bank,
            progress=lambda done, total: self._tell(bank, "features", done, total),
        )
        self._book("build_bank", started)

    def _evaluate(self, category: str) -> None:
        started = time.monotonic()
        samples = self.index.select("test", category)
        seen = 0
        good: list[float] = []

        def watch(sample: Sample, prediction: Prediction) -> None:
            nonlocal seen
            seen += 1
            if sample.label == 0:
                good.append(prediction.score)
            self._tell(category, "scoring", seen, len(samples))

        evaluation = evaluate_samples(self.model, self.index, samples, ExactEvaluation(), watch)
        own = [sample.path for sample in self.held_out if sample.category == category]
        scores = [prediction.score for prediction in self.model.predict_each(own, category)]
        threshold = calibrate_threshold(scores, self.result.record.settings.target_false_alarm_rate)
        self.thresholds[category] = threshold
        self.calibration[category] = sorted(scores)
        if not samples:
            self.result.record.notices.append(f"no test images of {category}: not evaluated")
        self.result.record.evaluated.append(
            CategoryResult(
                category,
                evaluation.compute(),
                threshold,
                report_calibration(threshold, scores, good),
            )
        )
        self._book("score", started)

    def _tell(self, category: str, step: str, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(category, step, done, total)

    def _book(self, step: str, started: float) -> None:
        seconds = self.result.record.seconds
        seconds[step] = seconds.get(step, 0.0) + time.monotonic() - started


def _finish(work: _Work, settings: Settings) -> None:
    """Turn what was fitted into the record's model, or mark the run as failed."""
    record, model = work.result.record, work.model
    record.categories = [found.category for found in record.evaluated]
    if not record.evaluated:
        record.status = "failed"
        record.error = "; ".join(record.notices)
        return
    record.model = SavedModel(
        banks=dict(model.banks),
        space=model.space,
        image_score=settings.image_score,
        categories=tuple(record.categories),
        thresholds=threshold_facts(work.thresholds),
        calibration=work.calibration,
        selection=model.selection,
        radius=model.radius,
        weights_source=settings.absolute().weights,
        provenance={
            "method": METHOD,
            "created": record.started.isoformat(timespec="seconds"),
            "synthetic_data": bool(record.synthetic),
        },
    )
