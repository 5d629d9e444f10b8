"""The `local` method: no federation, every station judges its own test images with its own bank."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.config import Settings
from common.data.holdout import split_holdout
from common.data.layout import DataIndex, Sample
from common.data.partition import make_partition
from common.evaluation import EvaluationCounts, calibrate_threshold
from common.evaluation.judge import evaluate_samples
from common.patchcore import FeatureExtractor, PatchCore
from common.patchcore.model_store import SHARED
from common.patchcore.network.feature_cache import FeatureCache
from common.paths import cache_folder
from common.runs.baseline import CACHE_BYTES, Listener
from common.runs.output import CategoryResult, RunRecord, write_run

METHOD: Final = "local"


@dataclass
class LocalRecord(RunRecord):
    """A run of several models: `run.json` tells the banks of all stations, none is saved."""

    bank: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Content of `run.json`, with the banks of the stations under their names."""
        return {**super().to_json(), "bank": self.bank}


@dataclass
class _Station:
    """One station's images and its model."""

    name: str
    model: PatchCore
    bank_samples: list[Sample]
    held_out: list[Sample]
    test: list[Sample]


@dataclass
class _Category:
    """What all stations together found about one category."""

    counts: EvaluationCounts = field(default_factory=EvaluationCounts)
    held_out_scores: list[float] = field(default_factory=list)


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
    started = datetime.now(UTC)
    partition = make_partition(
        index.samples,
        settings.partition,
        settings.num_stations,
        settings.seed,
        settings.dirichlet_alpha,
    )
    extractor = FeatureExtractor.from_settings(settings)
    cache = FeatureCache(cache_folder("simulation", "features"), CACHE_BYTES)
    record = LocalRecord(
        settings, METHOD, started, synthetic=index.synthetic, space=extractor.space
    )
    record.notices.extend(partition.notices)
    found = {name: _Category() for name in index.categories}
    rows: dict[str, int] = {}
    radius = 0.0
    for number, indices in sorted(partition.indices.items()):
        own = [index.samples[i] for i in indices]
        bank_samples, held_out = split_holdout(
            [sample for sample in own if sample.split == "train"], settings.calibration_fraction
        )
        station = _Station(
            partition.names[number],
            PatchCore(settings, extractor=extractor, cache=cache),
            bank_samples,
            held_out,
            [sample for sample in own if sample.split == "test"],
        )
        _fit(station, settings, record, on_progress)
        _judge(station, index, found, record, on_progress)
        for bank, values in station.model.banks.items():
            rows[station.name if bank == SHARED else f"{station.name}/{bank}"] = len(values)
        radius = max(radius, station.model.radius or 0.0)
        record.stations.append(_participant(station.name))
    record.bank = {
        "scope": settings.bank_scope,
        "rows": rows,
        "feature_dim": extractor.feature_dim,
        "radius": radius,
    }
    _conclude(record, found, settings.target_false_alarm_rate)
    write_run(record, out)
    return record


def _fit(
    station: _Station, settings: Settings, record: RunRecord, on_progress: Listener | None
) -> None:
    started = time.monotonic()
    if settings.bank_scope == "shared":
        groups: dict[str, list[Sample]] = {SHARED: station.bank_samples}
    else:
        names = sorted({sample.category for sample in station.bank_samples})
        groups = {
            name: [sample for sample in station.bank_samples if sample.category == name]
            for name in names
        }

    def tell(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(station.name, "features", done, total)

    for bank, samples in groups.items():
        category = None if bank == SHARED else bank
        station.model.fit([sample.path for sample in samples], category, progress=tell)
    _book(record, "build_bank", started)


def _judge(
    station: _Station,
    index: DataIndex,
    found: dict[str, _Category],
    record: RunRecord,
    on_progress: Listener | None,
) -> None:
    started, seen = time.monotonic(), 0

    def watch(sample: Sample, prediction: object) -> None:
        nonlocal seen
        seen += 1
        if on_progress is not None:
            on_progress(station.name, "scoring", seen, len(station.test))

    for name, category in found.items():
        test = [sample for sample in station.test if sample.category == name]
        held_out = [sample.path for sample in station.held_out if sample.category == name]
        if SHARED not in station.model.banks and name not in station.model.banks:
            if test:
                record.notices.append(
                    f"{station.name} has no training image of {name}: its {len(test)} test images "
                    "of it were not judged"
                )
            continue
        own = evaluate_samples(station.model, index, test, EvaluationCounts(), watch)
        category.counts.merge(own)
        category.held_out_scores.extend(
            prediction.score for prediction in station.model.predict_each(held_out, name)
        )
    _book(record, "score", started)


def _conclude(record: RunRecord, found: dict[str, _Category], target: float) -> None:
    """Merged counts of each category into the record's results."""
    for name, category in found.items():
        if category.counts.n_images == 0:
            record.notices.append(f"no test images of {name}: not evaluated")
        threshold = calibrate_threshold(category.held_out_scores, target)
        record.evaluated.append(CategoryResult(name, category.counts.compute(), threshold))
        record.categories.append(name)


def _participant(name: str) -> dict[str, Any]:
    """A station's line in `run.json`; nothing travelled."""
    return {
        "name": name,
        "node_id": None,
        "status": "used",
        "reason": None,
        "host": platform.node(),
        "bytes_up": 0,
        "bytes_down": 0,
    }


def _book(record: RunRecord, step: str, started: float) -> None:
    record.seconds[step] = record.seconds.get(step, 0.0) + time.monotonic() - started
