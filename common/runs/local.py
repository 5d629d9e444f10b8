"""The `local` method: no federation, every station judges its own test images with its own bank."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from common.config import Settings
from common.data.holdout import split_holdout
from common.data.images import read_size
from common.data.layout import DataIndex, Sample
from common.data.partition import make_partition
from common.data.remarks import image_remarks
from common.evaluation import EvaluationCounts, StationScores
from common.evaluation.defect_sizes import DefectSize
from common.evaluation.judge import (
    StationJudgement,
    conclude,
    judge_station,
    left_out,
    resolution_notices,
)
from common.patchcore import FeatureExtractor, PatchCore
from common.patchcore.local_bank import bank_patches
from common.patchcore.model_store import SHARED, bank_of
from common.patchcore.network.feature_space import FeatureSpace
from common.runs.output import write_run
from common.runs.record import BankFacts, Contribution, RunRecord, StationFacts
from common.runs.steps import Listener, Steps, simulation_cache

METHOD: Final = "local"


def run_local(
    settings: Settings, index: DataIndex, out: Path, on_progress: Listener | None = None
) -> RunRecord:
    """Judge every test image by the bank of the station that holds it; merge the counts.

    Parameters
    ----------
    settings : Settings
        With `weights` resolved. Partition, hold-out and features are those of the federated run
        with the same settings; the difference is that no row is sent anywhere. A station's bank
        has min(ceil(ratio x patches), `global-bank-size`) rows; in scope `category` it has such a
        bank for each of its categories.
    index : DataIndex
    out : Path
        The run folder; an earlier run there is moved aside.
    on_progress : callable (station, step, images done, images), optional

    Returns
    -------
    RunRecord
        Its `model` is None: there is one for each station and nothing to deploy.

    Raises
    ------
    InputError
        If the partition is not possible or an image cannot be read.

    Notes
    -----
    In scope `category` a station may hold test images of a category that it has no training
    images of; nothing can judge them. They are left out, and a notice says how many.

    Scores of different stations are pooled as they are: each is a distance in the same feature
    space, but from another bank. The threshold of a category comes from the held-out images of
    all stations, each judged by its own station's bank.
    """
    record = RunRecord(settings, METHOD, synthetic=index.synthetic)
    partition = make_partition(
        index.samples,
        settings.partition,
        settings.num_stations,
        settings.seed,
        settings.dirichlet_alpha,
    )
    record.notices += [*partition.notices, *image_remarks(index.samples)]
    extractor, cache = FeatureExtractor.from_settings(settings), simulation_cache()
    record.space = extractor.space
    steps = Steps(record, index, on_progress)
    counts = {name: EvaluationCounts() for name in index.categories}
    scores: dict[str, dict[str, StationScores]] = {name: {} for name in index.categories}
    rows: dict[str, int] = {}
    defects: dict[str, list[DefectSize]] = {name: [] for name in index.categories}
    farthest: dict[str, list[tuple[Sample, float, bool]]] = {name: [] for name in index.categories}
    for number, indices in sorted(partition.indices.items()):
        name, own = partition.names[number], [index.samples[i] for i in indices]
        model = PatchCore(settings, extractor=extractor, cache=cache)
        found = _fit_and_judge(name, own, model, steps)
        for category, judged in found.counts.items():
            counts[category].merge(judged)
            scores[category][name] = found.scores[category]
            defects[category] += found.defects[category]
            farthest[category] += found.farthest[category]
        for bank, values in model.banks.items():
            rows[name if bank == SHARED else f"{name}/{bank}"] = len(values)
    radius = max(one.radius or 0.0 for one in record.contributions)
    record.bank = BankFacts(settings.bank_scope, rows, extractor.feature_dim, radius)
    record.device = extractor.computed_by
    record.summary = f"used {len(record.stations)} of {len(record.stations)}"
    for category, merged in counts.items():
        stations = scores[category]
        held = [score for own_scores in stations.values() for score in own_scores.held_out]
        rule = settings.target_false_alarm_rate
        fenced = settings.audit_good != "off"
        found_here = conclude(category, merged, held, rule, stations=stations, fenced=fenced)
        record.keep(found_here)
        steps.tell_farthest(found_here, farthest[category])
    record.notices += resolution_notices(defects, extractor.space)
    write_run(record, out)
    return record


def _fit_and_judge(
    name: str, own: Sequence[Sample], model: PatchCore, steps: Steps
) -> StationJudgement:
    """One station's whole part, booked in the record."""
    record, began = steps.record, time.monotonic()
    settings = record.settings
    test = [sample for sample in own if sample.split == "test"]
    train = [sample for sample in own if sample.split == "train"]
    samples, held_out = split_holdout(train, settings.calibration_fraction)
    audits, samples = steps.audit(model, samples, held_out, name)
    shared = settings.bank_scope == "shared"
    for bank in [SHARED] if shared else sorted({bank_of(sample.category) for sample in samples}):
        steps.fit(model, bank, samples, name)
    with record.timed("score"):
        watch = steps.watcher(name, len(test))
        found = judge_station(model, steps.index, test, held_out, watch)
    for category, scores in found.scores.items():
        if category in audits:
            suspected = len(audits[category].suspicious_held_out)
            found.scores[category] = replace(scores, suspected=suspected)
    for category, faults in found.faults.items():
        record.unevaluated += left_out(f"{category} at {name}", faults)
    for category in found.without_bank:
        if left := sum(sample.category == category for sample in test):
            record.notices.append(
                f"{name} has no training image of {category}: its {left} test images of it were "
                "not judged"
            )
    record.stations.append(
        StationFacts(
            name,
            host=platform.node(),
            images_extracted=model.source.computed,
            device=model.extractor.computed_by,
        )
    )
    rows = sum(len(bank) for bank in model.banks.values())
    record.contributions.append(
        Contribution(
            name,
            budget=rows,
            rows_sent=0,
            rows_chosen=rows,
            bytes=0,
            radius=model.radius,
            seconds=time.monotonic() - began,
            categories=_holdings(samples, model.space, settings.augment),
            audit={category: audit.counts() for category, audit in audits.items()},
        )
    )
    return found


def _holdings(
    samples: Sequence[Sample], space: FeatureSpace, augment: str
) -> dict[str, dict[str, int]]:
    """Images and patches of every category that a station's bank is built from."""
    held: dict[str, dict[str, int]] = {}
    for sample in sorted(samples, key=lambda one: one.category):
        own = held.setdefault(sample.category, {"images": 0, "patches": 0})
        own["images"] += 1
        own["patches"] += bank_patches(space, read_size(sample.path), augment)
    return held
