"""The centralized baseline: all images in one place, as the federated runs are compared with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.config import Settings
from common.data.holdout import hold_out_as_stations
from common.data.layout import DataIndex, Sample
from common.data.remarks import image_remarks
from common.errors import reason
from common.evaluation import ExactEvaluation
from common.evaluation.judge import conclude, judge, resolution_notices
from common.patchcore import PatchCore
from common.patchcore.audit.good_images import CategoryAudit
from common.patchcore.model_store import SHARED, bank_of
from common.runs.output import write_run
from common.runs.record import RunRecord
from common.runs.steps import Listener, Steps, simulation_cache

METHOD: Final = "centralized"


@dataclass
class BaselineResult:
    """What came of each category.

    Attributes
    ----------
    record : RunRecord
    summary : dict of category to facts
        Content of `training_summary.json`.
    errors : dict of category to exception
        Categories that failed, and those whose images could not be judged.
    """

    record: RunRecord
    summary: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)

    def fail(self, what: str, categories: Sequence[str], error: Exception) -> None:
        """Note what failed, and that it cost some categories their result."""
        told = f"{what} failed: {reason(error)}"
        self.record.notices.append(told)
        self.record.error = f"{self.record.error}; {told}" if self.record.error else told
        for category in categories:
            self.errors[category] = error
            self.summary[category] = {"status": "failed", "error": reason(error)}


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
        A failing category does not stop the others; one whose images cannot be judged keeps its
        bank.

    Raises
    ------
    FedPatchCoreError
        If every category failed: the first one's error, after the failed run has been written.

    Notes
    -----
    The images held out of the bank are those that the stations of the same partition and seed
    would hold out, so that a comparison differs in the federation alone.
    """
    model = PatchCore(settings, cache=simulation_cache())
    dealt = hold_out_as_stations(index.samples, settings)
    samples, held_out = dealt.bank, dealt.held_out
    record = RunRecord(settings, METHOD, synthetic=index.synthetic, space=model.space)
    record.notices += [*dealt.notices, *image_remarks(index.samples)]
    result = BaselineResult(record)
    steps = Steps(record, index, on_progress)
    try:
        audits, samples = steps.audit(model, samples, held_out)
    except Exception as error:  # what a step fails by, the next one will say of its own images
        record.notices.append(f"the good images were not looked over: {reason(error)}")
        audits = {}
    waiting = list(index.categories)
    if settings.bank_scope == "shared":
        try:
            steps.fit(model, SHARED, samples, SHARED)
        except Exception as error:
            result.fail("the bank of all categories", waiting, error)
            waiting = []
    for category in waiting:
        began = time.monotonic()
        try:
            _run_category(category, model, steps, samples, held_out, result, audits)
        except Exception as error:
            model.drop_bank(bank_of(category))
            result.fail(category, [category], error)
        result.summary[category]["seconds"] = round(time.monotonic() - began, 3)
    record.training_summary, record.device = result.summary, model.extractor.computed_by
    if record.evaluated:
        record.error = None
        record.save_model(dict(model.banks), model.radii, shares=model.shares)
    else:
        record.status = "failed"
    write_run(record, out)
    if result.errors and not record.evaluated:
        raise next(iter(result.errors.values()))
    return result


def _run_category(
    category: str,
    model: PatchCore,
    steps: Steps,
    samples: Sequence[Sample],
    held_out: Sequence[Sample],
    result: BaselineResult,
    audits: Mapping[str, CategoryAudit],
) -> None:
    """Fit (in scope `category`) and evaluate."""
    record = steps.record
    if not model.can_judge(category):
        steps.fit(model, bank_of(category), samples, category)
    test = steps.index.select("test", category)
    with record.timed("score"):
        watch = steps.watcher(category, len(test))
        judged = judge(model, steps.index, category, test, held_out, ExactEvaluation, watch)
        rule = record.settings.target_false_alarm_rate
        suspected = len(audits[category].suspicious_held_out) if category in audits else 0
        found = conclude(
            category,
            judged.evaluation,
            judged.held_out,
            rule,
            fenced=record.settings.audit_good != "off",
            suspected=suspected,
        )
        record.keep(found, judged.faults)
        steps.tell_farthest(found, judged.farthest())
        record.notices += resolution_notices({category: judged.defects}, model.space)
    failed = {}
    for fault in judged.faults.values():
        result.errors[category] = fault
        failed = {"status": "not evaluated", "error": reason(fault)}
    result.summary[category] = {
        "status": "completed",
        **failed,
        "memory_bank_size": len(model.banks[model.bank_name(category)]),
        "feature_dim": model.extractor.feature_dim,
        "training_images": sum(sample.category == category for sample in samples),
    }
