"""The files of a run, written whole: the same for every method."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.analysis.report import write_report, write_run_plots
from common.errors import reason
from common.evaluation import build_curves, build_metrics, promise_notice, write_metrics
from common.patchcore.exact.device import take_notices
from common.patchcore.model_files import file_digest
from common.patchcore.model_folder import FACTS
from common.paths import beside, json_text
from common.runs.record import RunRecord
from common.system.files import write_whole


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
    building = beside(out, f".{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    if record.model is not None:
        record.model.save(building / "model")
        record.model_sha256 = file_digest(building / "model" / FACTS)
    record.notices += take_notices()
    record.notices += promise_notice({one.category: one.threshold for one in record.evaluated})
    for found in record.evaluated:
        metrics = build_metrics(
            found.result,
            method=record.method,
            category=found.category,
            threshold=found.threshold,
            calibration=found.calibration,
            synthetic_data=bool(record.synthetic),
            weights=record.space.weights if record.space else "",
        )
        write_metrics(building, metrics, build_curves(found.result))
        record.notices += found.calibration.sentences(
            found.category, record.tell_drift, with_model=record.model is not None
        )
    brought = [contribution.to_json() for contribution in record.contributions]
    _write_json(building / "contributions.json", {"stations": brought})
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
    _put_in_place(building, out)
    return out


def _put_in_place(building: Path, out: Path) -> None:
    """Let a finished run appear; an empty folder there is filled, as somebody may stand in it."""
    if out.is_dir() and not any(out.iterdir()):
        for entry in sorted(building.iterdir(), key=lambda entry: entry.name == "run.json"):
            entry.rename(out / entry.name)
        building.rmdir()
        return
    move_aside(out)
    building.rename(out)


def move_aside(out: Path) -> None:
    """Make room for a new run: what stands at `out` moves to the first free `<out>.N`."""
    if not out.exists():
        return
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
        return
    number = 1
    while (aside := beside(out, f".{number}")).exists():
        number += 1
    out.rename(aside)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json_text(content) + "\n")
