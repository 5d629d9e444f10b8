"""A run that has not ended yet: who works on it, how it stands, and how it ended without a word.

The ServerApp of a plant holds its run folder by a lock from its first second, and tells in
`run.json` how it stands. A lock ends with its process, however that ends: a folder that says
`running` and that nobody holds is that of a run whose process was killed. Whoever finds it writes
that down.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.errors import RunError
from common.paths import RUN_FILE as RUN_FILE
from common.paths import json_text
from common.system.files import write_whole

RUNNING: Final = "running"
KILLED: Final = "killed"
STOPPED: Final = "stopped"
DELIVERING: Final = "pending"
"""State of a delivery that is under way, in `stations[].delivery` of a record that is finished."""
_PATIENCE_SECONDS: Final = 5.0
"""For somebody who only looks whether a folder is held, and holds it meanwhile."""
_ASK_AGAIN_SECONDS: Final = 0.05


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run folder while its run lasts; the lock ends with the process, too.

    Parameters
    ----------
    folder : Path
        It is there.

    Raises
    ------
    RunError
        If another process works on this run.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    with _opened(folder) as handle:
        while not _locked(handle, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise RunError(f"{folder}: another process works on this run")
            time.sleep(_ASK_AGAIN_SECONDS)
        yield


def is_held(folder: Path) -> bool:
    """Whether a process works on this run at this moment."""
    with _opened(folder) as handle:
        return not _locked(handle, fcntl.LOCK_SH)


def is_running(record: dict[str, Any] | None) -> bool:
    """Whether a record is that of a run that has not ended, or not told how."""
    return record is not None and record.get("status") == RUNNING


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read a run's `run.json`; None where there is none, or nothing that can be read."""
    try:
        found = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def settle(folder: Path) -> dict[str, Any] | None:
    """Read how a run stands; if it was killed, write that down first.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict or None
        Its record: `running` only while a process works on it. None if there is no record. Who
        may not write there is told all the same.

    Notes
    -----
    A finished record is never touched. What its process had begun to write is removed.
    """
    record = read_record(folder)
    if not is_running(record):
        return record
    with contextlib.suppress(OSError), _opened(folder) as handle:
        if not _locked(handle, fcntl.LOCK_SH):
            return record
        # One of several who find it; each reads again what the one before may have written.
        alone = _locked(handle, fcntl.LOCK_EX)
        record = read_record(folder)
        if record is None or not is_running(record):
            return record
        record = _killed(folder.name, record)
        if alone:
            write_whole(folder / RUN_FILE, json_text(record) + "\n")
            for left in folder.parent.glob(f"{folder.name}.*.partial"):
                shutil.rmtree(left, ignore_errors=True)
            for file in folder.glob(".*.partial"):
                file.unlink(missing_ok=True)
    return record


def settle_all(runs: Path, known: set[str] | None = None) -> dict[str, dict[str, Any]]:
    """Write down how every run of a folder of runs ended that was killed.

    Parameters
    ----------
    runs : Path
    known : set of str, optional
        Names of runs that are known to have ended, which are not looked at; added to.

    Returns
    -------
    dict of run id to record
        Those that were written now.
    """
    known = set() if known is None else known
    marked = {}
    for path in sorted(runs.glob(f"[0-9]*/{RUN_FILE}")):
        folder = path.parent
        if folder.name in known or not folder.name.isdigit():
            continue
        before = read_record(folder)
        record = settle(folder) if is_running(before) else before
        # Read again: a disk that is full for a while keeps it from being written down.
        after = read_record(folder)
        if is_running(before) and record is not None and not is_running(after):
            marked[folder.name] = record
        if not is_running(after):
            known.add(folder.name)
    return marked


def where(record: dict[str, Any]) -> str:
    """At which step a run is, or was, and since when: for the middle of a sentence."""
    progress = record.get("progress") or {}
    step = str(progress.get("step") or "start")
    server_round = progress.get("round")
    told = f"{step} of round {server_round}" if server_round else step
    since = str(progress.get("since") or record.get("started") or "")
    return f"step {told} (since {_clock(since)})" if since else f"step {told}"


def what_is_lost(run_id: str, *, resumable: bool = True) -> str:
    """What a run without a result has cost, and what to do."""
    again = f"`fedpatchcore plant run --resume {run_id}` starts from there" if resumable else ""
    kept = "the stations keep the features and rows that they had finished"
    return f"Lost is nothing but time: {kept}" + (f"; {again}" if again else "")


def _killed(run_id: str, record: dict[str, Any]) -> dict[str, Any]:
    progress = record.get("progress") or {}
    heard = _clock(str(progress.get("updated") or record.get("started") or ""))
    now = datetime.now(UTC)
    return {
        **record,
        "status": KILLED,
        "error": (
            f"killed at {where(record)}: the server's process of this run ended without a word, "
            f"last heard of at {heard}. {what_is_lost(run_id)}"
        ),
        "finished": now.isoformat(timespec="seconds"),
    }


def _clock(iso: str) -> str:
    """A moment as people read it; what is none stays as it is."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso or "an unknown time"
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    # The folder itself is locked: nothing lies in it that is not of the run.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


def _locked(handle: int, how: int) -> bool:
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
