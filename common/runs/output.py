"""The files of a run, written whole: the same for a centralized and a federated one."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from common import __version__
from common.analysis.report import write_report, write_run_plots
from common.config import Settings
from common.errors import reason
from common.evaluation import (
    CalibrationReport,
    Threshold,
    build_curves,
    build_metrics,
    promise_notice,
    write_metrics,
)
from common.evaluation.result import EvaluationResult
from common.patchcore.model_store import SavedModel
from common.patchcore.network.feature_space import FeatureSpace
from common.system.files import write_whole

FORMAT: Final = 1
_PATH_KEYS: Final = ("data-root", "output-dir")
_NAMED_WEIGHTS: Final = ("auto", "imagenet", "random")


@dataclass(frozen=True)
class CategoryResult:
    """What an evaluation found in one category, with the threshold that belongs to it."""

    category: str
    result: EvaluationResult
    threshold: Threshold | None = None
    calibration: CalibrationReport | None = None


@dataclass
class RunRecord:
    """Everything that `run.json` and its neighbours are made of.

    Attributes
    ----------
    settings, method
        What was run.
    started : datetime
    status, error
        `completed`, or `failed` and why.
    flower_run_id : str or None
    seconds : dict of step to float
    synthetic : bool or None
        Whether the images are drawings; None if the run failed before that was known.
    categories : list of str
    space, model
        As far as the run came.
    stations : list of dict
        See `Participant.to_json`.
    contributions : list of dict, or None
        None for a run without stations.
    evaluated : list of CategoryResult
    training_summary : dict of category to facts, or None
        Of a centralized baseline.
    summary : str or None
        Who took part and who did not, in one line; None for a run without stations.
    tell_drift : bool
        Whether every comparison with the calibration is worth a notice, or only what is more than
        chance.
    hide_paths : bool
        True for real stations: no path is written.
    notices : list of str
    """

    settings: Settings
    method: str
    started: datetime
    status: str = "completed"
    error: str | None = None
    flower_run_id: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    synthetic: bool | None = None
    categories: list[str] = field(default_factory=list)
    space: FeatureSpace | None = None
    model: SavedModel | None = None
    stations: list[dict[str, Any]] = field(default_factory=list)
    contributions: list[dict[str, Any]] | None = None
    evaluated: list[CategoryResult] = field(default_factory=list)
    training_summary: dict[str, dict[str, Any]] | None = None
    summary: str | None = None
    tell_drift: bool = False
    hide_paths: bool = False
    notices: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Content of `run.json`."""
        finished = datetime.now(UTC)
        total = (finished - self.started).total_seconds()
        up = sum(station["bytes_up"] for station in self.stations)
        down = sum(station["bytes_down"] for station in self.stations)
        return {
            "format": FORMAT,
            "status": self.status,
            "error": self.error,
            "method": self.method,
            "flower_run_id": self.flower_run_id,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": {**self.seconds, "total": total},
            "settings": self._shown_settings(),
            "versions": versions(),
            "seed": self.settings.seed,
            "data": {"synthetic": self.synthetic, "categories": self.categories},
            "feature_space": self.space.to_json() if self.space else None,
            "bank": _bank_facts(self.model),
            "stations": self.stations,
            "summary": self.summary,
            "bytes": {"up": up, "down": down},
            "notices": self.notices,
        }

    def _shown_settings(self) -> dict[str, Any]:
        shown: dict[str, Any] = dict(self.settings.to_run_config())
        if self.hide_paths:
            shown.update(dict.fromkeys(_PATH_KEYS, ""))
            if shown["weights"] not in _NAMED_WEIGHTS:
                shown["weights"] = "auto"
        return shown


def write_run(record: RunRecord, out: Path) -> Path:
    """Write a run folder, whole or not at all.

    Parameters
    ----------
    record : RunRecord
    out : Path
        An earlier run there is moved aside to `<out>.1`, `<out>.2`, ..., never overwritten.

    Returns
    -------
    Path
        `out`.
    """
    started = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    building = out.with_name(f"{out.name}.{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    if record.model is not None:
        record.model.save(building / "model")
    weights = record.space.weights if record.space else ""
    record.notices += promise_notice({one.category: one.threshold for one in record.evaluated})
    for found in record.evaluated:
        metrics = build_metrics(
            found.result,
            method=record.method,
            category=found.category,
            threshold=found.threshold,
            calibration=found.calibration,
            synthetic_data=bool(record.synthetic),
            weights=weights,
        )
        write_metrics(building, metrics, build_curves(found.result))
        if found.calibration is not None:
            record.notices += found.calibration.sentences(found.category, record.tell_drift)
    if record.contributions is not None:
        _write_json(building / "contributions.json", {"stations": record.contributions})
    if record.training_summary is not None:
        _write_json(building / "training_summary.json", record.training_summary)
    # The report reads the files; the time it takes is written when it is known.
    _write_json(building / "run.json", record.to_json())
    try:
        write_run_plots(building)
        write_report([building], building / "report.html")
    except Exception as error:  # pictures must never cost the run that they show
        record.notices.append(
            f"plots or report failed ({reason(error)}); the run itself is whole, "
            "`fedpatchcore report` writes them again"
        )
    record.seconds["write"] = time.monotonic() - started
    _write_json(building / "run.json", record.to_json())
    move_aside(out)
    building.rename(out)
    return out


def move_aside(out: Path) -> None:
    """Make room for a new run: what stands at `out` moves to the first free `<out>.N`."""
    if not out.exists():
        return
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
        return
    number = 1
    while (aside := out.with_name(f"{out.name}.{number}")).exists():
        number += 1
    out.rename(aside)


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    names = ("flwr", "torch", "torchvision", "numpy")
    return {
        "fedpatchcore": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def threshold_facts(thresholds: Mapping[str, Threshold | None]) -> dict[str, dict[str, Any]]:
    """Thresholds as `model.json` keeps them; categories without one are absent."""
    return {
        category: {
            "value": threshold.value,
            "target_false_alarm_rate": threshold.target_false_alarm_rate,
            "promised_false_alarm_rate": threshold.promised_false_alarm_rate,
            "held_out_images": threshold.held_out_images,
            "note": threshold.note,
        }
        for category, threshold in thresholds.items()
        if threshold is not None
    }


def _bank_facts(model: SavedModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {
        "scope": model.scope,
        "rows": {name: len(rows) for name, rows in model.banks.items()},
        "feature_dim": next(iter(model.banks.values())).shape[1],
        "radius": model.radius,
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_whole(path, text + "\n")
