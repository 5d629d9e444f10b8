"""The files of a run, written whole: the same for every method."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.analysis.report import write_report, write_run_plots
from common.errors import RunError, reason
from common.evaluation import build_curves, build_metrics, promise_notice, write_metrics
from common.evaluation.judge import CategoryResult
from common.patchcore.exact.device import take_notices
from common.patchcore.model_files import file_digest
from common.patchcore.model_folder import FACTS
from common.paths import beside, finite, json_text
from common.runs.record import RunRecord
from common.runs.unfinished import RUN_FILE, is_running, read_record
from common.system.files import write_whole


def write_run(record: RunRecord, out: Path) -> Path:
    """Write a run folder, whole or not at all.

    Parameters
    ----------
    record : RunRecord
    out : Path
        An earlier run there is moved aside to `<out>.1`, `<out>.2`, ..., never overwritten; the
        record of this very run while it lasted is replaced last of all.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    RunError
        If the model could not be written: after everything else of the run has been.
    OSError
        If the system allows no file at all.
    """
    started = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    building = beside(out, f".{os.getpid()}.partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    lost: Exception | None = None
    if record.model is not None:
        try:
            record.model.save(building / "model")
            record.model_sha256 = file_digest(building / "model" / FACTS)
        except Exception as error:  # what was measured is worth having without it
            lost = error
            shutil.rmtree(building / "model", ignore_errors=True)
            record.status = "failed"
            record.error = f"the model could not be written ({_told(record, error)})"
    record.notices += take_notices()
    record.notices += promise_notice({one.category: one.threshold for one in record.evaluated})
    for found in record.evaluated:
        with _apart(record, f"the metrics of {found.category}"):
            _write_category(record, found, building)
    with _apart(record, "contributions.json"):
        brought = [contribution.to_json() for contribution in record.contributions]
        contributions = _finite(record, "contributions.json", {"stations": brought})
        _write_json(building / "contributions.json", contributions)
    if record.training_summary is not None:
        _write_json(building / "training_summary.json", record.training_summary)
    # The report reads the files; the time it takes is written when it is known.
    _write_record(building, record)
    for what, draw in (
        ("plots", lambda: write_run_plots(building)),
        ("report", lambda: write_report([building], building / "report.html")),
    ):
        try:
            draw()
        except Exception as error:  # pictures must never cost the run that they show
            record.notices.append(
                f"{what} failed ({reason(error)}); the run itself is whole, "
                "`fedpatchcore report` writes them again"
            )
    record.seconds["write"] = time.monotonic() - started
    _write_record(building, record)
    _put_in_place(building, out)
    if lost is not None:
        raise RunError(f"{out}: {record.error}; the rest of the run is there") from lost
    return out


@contextlib.contextmanager
def _apart(record: RunRecord, what: str) -> Iterator[None]:
    """Let a part that cannot be written cost that part alone, and say so.

    A disk that is full costs all: nobody should take what is left for a run.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        record.unevaluated.append(f"{what} could not be written ({_told(record, error)})")


def _told(record: RunRecord, error: Exception) -> str:
    """Why, without the path that a system's error names where none may be told."""
    if record.hide_paths and isinstance(error, OSError):
        return str(error.strerror or type(error).__name__)
    return reason(error)


def _write_category(record: RunRecord, found: CategoryResult, building: Path) -> None:
    """Metrics and curves of one category, and what is to be said of its calibration."""
    metrics = build_metrics(
        found.result,
        method=record.method,
        category=found.category,
        threshold=found.threshold,
        calibration=found.calibration,
        synthetic_data=bool(record.synthetic),
        weights=record.space.weights if record.space else "",
    )
    write_metrics(
        building,
        _finite(record, f"metrics of {found.category}", metrics),
        _finite(record, f"curves of {found.category}", build_curves(found.result)),
    )
    record.notices += found.calibration.sentences(
        found.category, record.tell_drift, with_model=record.model is not None
    )


def _write_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json`; a number that is none becomes null and a notice: the rest stays told."""
    _finite(record, RUN_FILE, record.to_json())
    _write_json(folder / RUN_FILE, finite(record.to_json())[0])


def _finite(record: RunRecord, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """What can be written: a sum that is not finite must not cost the files of a run."""
    kept, left_out = finite(content)
    if left_out:
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        told = f"{name}: not finite, so left out: {', '.join(left_out[:3])}{more}"
        if told not in record.notices:  # run.json is written more than once
            record.notices.append(told)
    return dict(kept)


def _put_in_place(building: Path, out: Path) -> None:
    """Let a finished run appear; an empty folder there is filled, as somebody may stand in it.

    So is that of the run while it lasted, which its process holds.
    """
    if out.is_dir() and {path.name for path in out.iterdir()} <= _before(out):
        for entry in sorted(building.iterdir(), key=lambda entry: entry.name == RUN_FILE):
            entry.rename(out / entry.name)
        building.rmdir()
        return
    move_aside(out)
    building.rename(out)


def _before(out: Path) -> set[str]:
    """What may lie where a run appears: nothing, or the record that tells that it is running."""
    return {RUN_FILE} if is_running(read_record(out)) else set()


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
