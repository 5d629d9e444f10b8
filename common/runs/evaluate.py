"""`evaluate`: metrics of a saved model, or of anybody's anomaly maps, on a data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import Settings
from common.data.images import read_size
from common.data.layout import DataIndex, Sample
from common.data.names import find_spelling, normal
from common.data.remarks import image_remarks
from common.errors import InputError
from common.evaluation import (
    ExactEvaluation,
    MapExporter,
    Threshold,
    find_maps,
    read_map,
    read_scale,
)
from common.evaluation.drift import STALE
from common.evaluation.judge import (
    Judged,
    Watcher,
    conclude,
    evaluate_predictions,
    judge,
    resolution_notices,
)
from common.patchcore import PatchCore, Prediction
from common.patchcore.station_threshold import choose_threshold, unknown_station
from common.runs.output import write_run
from common.runs.record import BankFacts, RunRecord
from common.runs.steps import Listener, Steps


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
    model = PatchCore.load(folder, **(options.changes or {}))
    if options.station is not None and model.uncalibrated:
        raise InputError(
            f"--station {options.station}: {model.uncalibrated}; leave one of them out"
        )
    if options.station is not None and options.station not in model.stations:
        raise InputError(unknown_station(options.station, model.stations))
    record = RunRecord(
        model.settings.with_(data_root=str(index.root), output_dir=str(out)),
        options.method or str(model.provenance.get("method", "centralized")),
        synthetic=index.synthetic,
        space=model.space,
        bank=BankFacts.of(model.banks, model.radius),
        tell_drift=True,
    )
    record.notices += image_remarks(index.select("test"))
    if model.uncalibrated:
        record.notices.append(f"judged without a threshold: {model.uncalibrated}")
    steps = Steps(record, index, on_progress)
    for category in index.categories:
        if not model.can_judge(category):
            record.notices.append(f"the model has no bank for {category}: it was not evaluated")
            continue
        test = index.select("test", category)
        with record.timed("score"):
            judged = model.source.whole(_judge, model, steps, category, test, options)
        found = choose_threshold(
            model.thresholds, model.calibration, model.stations, category, options.station
        )
        threshold = Threshold.from_facts(found.facts) if found.facts else None
        stale = category in model.stale
        if stale:
            record.notices.append(f"{category}: {STALE}")
        concluded = conclude(
            category,
            judged.evaluation,
            found.calibration,
            threshold,
            kinds=options.kinds,
            stale=stale,
        )
        record.keep(concluded, judged.faults)
        record.notices += resolution_notices({category: judged.defects}, model.space)
        if options.station is not None:
            record.notices.append(f"{category}: the threshold is {found.whose}")
    record.device = model.extractor.computed_by
    return _write(record, index, out)


def _judge(
    model: PatchCore, steps: Steps, category: str, test: list[Sample], options: EvaluateOptions
) -> Judged[ExactEvaluation]:
    """Judge the test images of a category; write their maps if wanted."""
    with ExitStack() as stack:
        keep_map = None
        if options.export_maps is not None and test:
            _no_shared_maps(test)
            exporter = stack.enter_context(MapExporter(options.export_maps, category))
            keep_map = _keeper(exporter)
        watch = steps.watcher(category, len(test), keep_map)
        return judge(model, steps.index, category, test, (), ExactEvaluation, watch)


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
    record = RunRecord(settings, method, synthetic=index.synthetic)
    steps = Steps(record, index, on_progress)
    present = [name for name in index.categories if find_spelling(folder, name).is_dir()]
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
        test, evaluation = index.select("test", category), ExactEvaluation()
        with record.timed("score"):
            predictions = _read_maps(folder, category, test)
            watch = steps.watcher(category, len(test))
            evaluate_predictions(index, test, predictions, evaluation, watch)
        record.keep(conclude(category, evaluation, kinds=options.kinds))
    return _write(record, index, out)


def _read_maps(folder: Path, category: str, samples: list[Sample]) -> Iterator[Prediction]:
    """The maps of test images, as if a model had just made them."""
    maps, scale = find_maps(folder, category), read_scale(folder, category)
    for sample in samples:
        path = maps.get((sample.defect_type, normal(sample.path.stem)))
        if path is None:
            raise InputError(
                f"{folder / category / 'test' / sample.defect_type}: no map named "
                f"{sample.path.stem} for the test image {sample.path}"
            )
        scores = read_map(path, size=read_size(sample.path), scale=scale)
        yield Prediction(scores, float(scores.max()))


def _keeper(exporter: MapExporter) -> Watcher:
    def keep(sample: Sample, prediction: Prediction) -> None:
        exporter.add(sample.defect_type, sample.path.stem, prediction.anomaly_map)

    return keep


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


def _write(record: RunRecord, index: DataIndex, out: Path) -> RunRecord:
    if not record.evaluated:
        raise InputError(f"{index.root}: nothing to evaluate; {'; '.join(record.notices)}")
    write_run(record, out)
    return record
