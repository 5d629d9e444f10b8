"""`evaluate`: metrics of a saved model, or of anybody's anomaly maps, on a data folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.config import Settings
from common.data.defects import load_regions
from common.data.images import read_size
from common.data.layout import DataIndex, Sample
from common.data.remarks import image_remarks
from common.errors import InputError
from common.evaluation import (
    CalibrationReport,
    ExactEvaluation,
    MapExporter,
    Threshold,
    find_maps,
    read_map,
    read_scale,
    report_calibration,
)
from common.evaluation.judge import evaluate_samples
from common.patchcore import PatchCore, Prediction
from common.patchcore.model_store import SHARED, SavedModel
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.station_threshold import choose_threshold, unknown_station
from common.runs.output import CategoryResult, RunRecord, write_run

Listener = Callable[[str, int, int], None]
"""Called with (category, images done, images)."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What the evaluation of a model is told beside model and data.

    Attributes
    ----------
    method : str or None
        Name under which the metrics are kept; default: that of the model's own run.
    export_maps : Path or None
        Write the maps there, too, for other evaluation programs.
    station : str or None
        Judge by this station's own thresholds and compare with its own calibration, where it has
        them.
    changes : dict of setting to value
        Where and how to compute, such as `device`; what belongs to the model cannot be changed.
    kinds : dict of defect type to kind, or None
        For defect types that are not AutoVI's.
    """

    method: str | None = None
    export_maps: Path | None = None
    station: str | None = None
    changes: dict[str, Any] | None = None
    kinds: dict[str, str] | None = None


def evaluate_model(
    folder: Path,
    index: DataIndex,
    out: Path,
    options: EvaluateOptions,
    cache: FeatureCache | None = None,
    on_progress: Listener | None = None,
) -> RunRecord:
    """Judge all test images of a data folder with a saved model, exactly.

    Parameters
    ----------
    folder : Path
        Model or run folder.
    index : DataIndex
    out : Path
        Run folder for the metrics; an earlier run there is moved aside.
    options : EvaluateOptions
    cache : FeatureCache, optional
    on_progress : callable, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If the model has no bank for any category of the folder, does not know the station, or a
        setting contradicts it.
    """
    saved = SavedModel.load(folder)
    model = PatchCore.load(folder, cache=cache, **(options.changes or {}))
    if model.space.fingerprint != saved.space.fingerprint:
        raise InputError(
            f"{folder}: was built in {saved.space.describe()}; the settings given ask for "
            f"{model.space.describe()}, in which its bank means nothing"
        )
    record = RunRecord(
        settings=model.settings.with_(data_root=str(index.root), output_dir=str(out)),
        method=options.method or str(saved.provenance.get("method", "centralized")),
        started=datetime.now(UTC),
        synthetic=index.synthetic,
        space=model.space,
        tell_drift=True,
    )
    if options.station is not None and options.station not in saved.stations:
        raise InputError(unknown_station(options.station, saved.stations))
    record.notices += image_remarks(index.select("test"))
    for category in index.categories:
        samples = index.select("test", category)
        if SHARED not in model.banks and category not in model.banks:
            record.notices.append(f"the model has no bank for {category}: it was not evaluated")
            continue
        evaluation = ExactEvaluation()
        with ExitStack() as stack:
            exporter = None
            if options.export_maps is not None and samples:
                _no_shared_maps(samples)
                exporter = stack.enter_context(MapExporter(options.export_maps, category))
            good: list[float] = []
            watch = _watcher(exporter, category, len(samples), on_progress, good)
            evaluate_samples(model, index, samples, evaluation, watch)
        found = choose_threshold(
            saved.thresholds, saved.calibration, saved.stations, category, options.station
        )
        threshold = Threshold(**found.facts) if found.facts else None
        report = report_calibration(threshold, found.calibration, good)
        _keep(record, category, evaluation, options.kinds, threshold, report)
        if options.station is not None:
            record.notices.append(f"{category}: the threshold is {found.whose}")
    return _write(record, index, out)


def evaluate_maps(
    folder: Path,
    index: DataIndex,
    out: Path,
    options: EvaluateOptions,
    on_progress: Listener | None = None,
) -> RunRecord:
    """Evaluate a folder of anomaly maps, ours or another method's, exactly.

    Parameters
    ----------
    folder : Path
        Holds `<category>/test/<defect>/<stem>.png`, `.tif`, `.tiff` or `.npy`.
    index : DataIndex
    out : Path
    options : EvaluateOptions
        `method` names the metrics, default `maps`.
    on_progress : callable, optional

    Returns
    -------
    RunRecord

    Raises
    ------
    InputError
        If a test image has no map, or a map has another size than its image.
    """
    settings = Settings(data_root=str(index.root), output_dir=str(out))
    method = options.method or "maps"
    record = RunRecord(settings, method, datetime.now(UTC), synthetic=index.synthetic)
    present = [name for name in index.categories if (folder / name).is_dir()]
    if not present:
        raise InputError(
            f"{folder}: no folder of maps for any category of {index.root} "
            f"({', '.join(index.categories)}); expected <category>/test/<defect>/<stem>.png"
        )
    record.notices += image_remarks(index.select("test"))
    for category in index.categories:
        if category not in present:
            record.notices.append(f"no maps of {category}: it was not evaluated")
            continue
        maps, scale = find_maps(folder, category), read_scale(folder, category)
        samples = index.select("test", category)
        evaluation = ExactEvaluation()
        for done, sample in enumerate(samples, start=1):
            path = maps.get((sample.defect_type, sample.path.stem))
            if path is None:
                raise InputError(
                    f"{folder / category / 'test' / sample.defect_type}: no map named "
                    f"{sample.path.stem} for the test image {sample.path}"
                )
            size = read_size(sample.path)
            scores = read_map(path, size=size, scale=scale)
            evaluation.update(
                scores,
                load_regions(sample, index.categories[category], size),
                label=sample.label,
                score=float(scores.max()),
                defect_type=sample.defect_type,
            )
            if on_progress is not None:
                on_progress(category, done, len(samples))
        _keep(record, category, evaluation, options.kinds)
    return _write(record, index, out)


def _watcher(
    exporter: MapExporter | None,
    category: str,
    total: int,
    on_progress: Listener | None,
    good: list[float],
) -> Callable[[Sample, Prediction], None]:
    seen = 0

    def watch(sample: Sample, prediction: Prediction) -> None:
        nonlocal seen
        seen += 1
        if sample.label == 0:
            good.append(prediction.score)
        if exporter is not None:
            exporter.add(sample.defect_type, sample.path.stem, prediction.anomaly_map)
        if on_progress is not None:
            on_progress(category, seen, total)

    return watch


def _no_shared_maps(samples: list[Sample]) -> None:
    """Refuse images whose maps would have one name: maps are named without the image's ending."""
    taken: dict[tuple[str, str], Path] = {}
    for sample in samples:
        other = taken.setdefault((sample.defect_type, sample.path.stem), sample.path)
        if other != sample.path:
            raise InputError(
                f"{sample.path}: its map would have the same name as that of {other.name}; rename "
                "one of them, or leave --export-maps out"
            )


def _keep(
    record: RunRecord,
    category: str,
    evaluation: ExactEvaluation,
    kinds: dict[str, str] | None,
    threshold: Threshold | None = None,
    calibration: CalibrationReport | None = None,
) -> None:
    record.categories.append(category)
    record.evaluated.append(
        CategoryResult(category, evaluation.compute(kinds=kinds), threshold, calibration)
    )


def _write(record: RunRecord, index: DataIndex, out: Path) -> RunRecord:
    if not record.evaluated:
        raise InputError(f"{index.root}: nothing to evaluate; {'; '.join(record.notices)}")
    write_run(record, out)
    return record
