"""The files of a run on a real plant, fetched from the server's folder of runs."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from common.errors import InputError
from common.paths import DEFAULT_RUNS, RUNS_VARIABLE, beside
from common.runs.unfinished import is_running, read_record, settle, where


def runs_folder(chosen: Path | None = None) -> Path:
    """Where the server writes runs: as chosen, else `$FEDPATCHCORE_RUNS`, else below the home."""
    return Path(chosen or os.environ.get(RUNS_VARIABLE) or DEFAULT_RUNS).expanduser().absolute()


def fetch_result(run_id: str, out: Path, runs: Path) -> Path:
    """Copy a run's folder, whole or not at all.

    Parameters
    ----------
    run_id : str
        Flower's: digits.
    out : Path
        An earlier folder there is moved aside, never overwritten.
    runs : Path
        The server's folder of runs.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        If there is no such run here, or it has not ended.
    OSError
        If the system refuses; nothing half written stays.
    """
    from common.runs.output import move_aside  # brings matplotlib along

    if not re.fullmatch("[0-9]{1,20}", run_id):
        raise InputError(f"run id {run_id!r}: expected digits, as `fedpatchcore plant run` prints")
    source = runs / run_id
    record = settle(source)
    if record is None:
        raise InputError(f"{source}: {_missing(runs, run_id)}")
    if is_running(record):
        raise InputError(
            f"{source}: the run goes on, at {where(record)}; `fedpatchcore plant status {run_id}` "
            "tells how it stands, and it has a result when it has ended"
        )
    out = out.expanduser().absolute()
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    partial = beside(out, f".{os.getpid()}.partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        move_aside(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def result_failed(folder: Path) -> str | None:
    """Why the run failed, or None if it completed."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return None if run["status"] == "completed" else str(run["error"])


def _missing(runs: Path, run_id: str) -> str:
    if not runs.is_dir():
        return (
            "no such folder; run this on the server, with the folder that its executor was "
            f"started with: --runs, or ${RUNS_VARIABLE}"
        )
    if any(runs.glob(f"{run_id}.*.partial")):
        return "the run is being written at this moment; ask again in a few seconds"
    found = (path.parent for path in runs.glob("[0-9]*/run.json"))
    there = sorted(folder.name for folder in found if not is_running(read_record(folder)))
    listed = f"finished runs here: {', '.join(there[-10:])}" if there else "no run is here yet"
    return f"the run is not there (yet): {listed}; `fedpatchcore plant status` tells how far it is"
