"""Ending a run before its end, and starting again from what is there."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.config import NAMED_WEIGHTS, PATH_KEYS, Settings
from common.errors import FedPatchCoreError, InputError, RunError
from common.plant.server.administration import Plant
from common.runs.unfinished import STOPPED, is_running, settle, where

PENDING: Final = "pending"
"""Flower's word for a run that no executor has taken yet."""
RECORD_SECONDS: Final = 60.0
"""A ServerApp hears within 20 s that it was stopped; its record is there within a second then."""


def require_run_id(run_id: str) -> str:
    """Refuse what is no run id.

    Raises
    ------
    InputError
    """
    if not re.fullmatch("[0-9]{1,20}", run_id):
        raise InputError(f"run id {run_id!r}: expected digits, as `fedpatchcore plant run` prints")
    return run_id


def stop(plant: Plant, run_id: str) -> bool:
    """Have the SuperLink end a run.

    Parameters
    ----------
    plant : Plant
    run_id : str

    Returns
    -------
    bool
        Whether it had begun. One that waited for an executor has nobody who writes its record.

    Raises
    ------
    InputError
        If it is none.
    RunError
        If nobody knows the run, or it has ended already.
    """
    number = int(require_run_id(run_id))
    with plant.control() as control:
        try:
            status = control.run_status(number)
        except RunError as error:
            if "not found" not in str(error).lower():
                raise
            raise RunError(
                f"the SuperLink at {plant.address} knows no run {run_id}; "
                "`fedpatchcore plant status` lists the runs"
            ) from error
        if status.startswith("finished"):
            raise RunError(f"run {run_id} has ended already ({status}); there is nothing to stop")
        control.stop_run(number)
    return status != PENDING


def write_stopped(runs: Path, run_id: str) -> dict[str, Any] | None:
    """Leave a record of a run that was stopped before it began, as `write_unbegun`.

    Parameters
    ----------
    runs : Path
        The server's folder of runs.
    run_id : str

    Returns
    -------
    dict or None
        The record; None if that folder is not here or not to be written to.
    """
    from common.runs.unbegun import write_unbegun

    if not runs.is_dir():
        return None
    why = "stopped by the administrator before an executor had begun it: no station was asked"
    try:
        folder = write_unbegun(
            runs, int(run_id), started=datetime.now(UTC), error=why, status=STOPPED
        )
    except OSError:
        return None
    return settle(folder)


def wait_for_record(folder: Path, seconds: float = RECORD_SECONDS) -> dict[str, Any] | None:
    """Wait until a run's record says how it ended; None if there is none to be read here."""
    until = time.monotonic() + seconds
    while is_running(record := settle(folder)) and time.monotonic() < until:
        time.sleep(0.2)
    return record


def recorded_settings(record: Mapping[str, Any], what: str, mend: str) -> Settings:
    """Read the settings that the record of a plant's run tells.

    Parameters
    ----------
    record : mapping
        Content of its `run.json`, which tells no paths: these are as by default.
    what : str
        What is asked for, begins the error.
    mend : str
        What to do where they cannot be used, ends it.

    Raises
    ------
    InputError
        If this version does not know them.
    """
    known = {
        key: value
        for key, value in (record.get("settings") or {}).items()
        if key not in PATH_KEYS or value
    }
    try:
        return Settings.from_run_config(known)
    except FedPatchCoreError as error:
        raise InputError(f"{what}: its settings cannot be used: {error}; {mend}") from error


def resumed(run_id: str, runs: Path, changes: Sequence[str] = ()) -> Settings:
    """Settings of a run that ended early, to be run again with them.

    Parameters
    ----------
    run_id : str
    runs : Path
        The server's folder of runs.
    changes : sequence of "key=value"
        What was given besides: may not contradict.

    Returns
    -------
    Settings

    Raises
    ------
    InputError
        If there is no such run, it has not ended or has a result, or a setting is another one.
    """
    folder = runs / require_run_id(run_id)
    record = settle(folder)
    if record is None:
        raise InputError(
            f"--resume {run_id}: {folder / 'run.json'} is not there; run this on the server, with "
            "the folder that its executor was started with (--runs), or give the settings yourself"
        )
    if is_running(record):
        raise InputError(
            f"--resume {run_id}: the run goes on, at {where(record)}; wait for its end, or end it: "
            f"`fedpatchcore plant stop {run_id}`"
        )
    if record.get("status") == "completed":
        raise InputError(
            f"--resume {run_id}: the run completed, so nothing is left to do; fetch it: "
            f"`fedpatchcore result {run_id} --out DIR`, or start a new run without --resume"
        )
    settings = recorded_settings(record, f"--resume {run_id}", "start a new run")
    chosen = settings.override(list(changes))
    before, after = settings.to_run_config(), chosen.to_run_config()
    for key in sorted(after):
        # What a record does not tell cannot be contradicted.
        hidden = key in PATH_KEYS or (key == "weights" and before[key] in NAMED_WEIGHTS)
        if before[key] != after[key] and not hidden:
            raise InputError(
                f"--set {key}={after[key]}: run {run_id} had {key}={before[key]}, and --resume "
                "means the same settings; leave it out, or start a new run without --resume"
            )
    return chosen
