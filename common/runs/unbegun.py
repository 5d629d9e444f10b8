"""The record of a run that ended before it began: refused, or stopped while it waited."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from common.config import PATH_KEYS, Settings
from common.paths import json_text
from common.runs.record import RunRecord
from common.runs.unfinished import RUN_FILE
from common.system.files import write_whole


def write_unbegun(
    runs: Path,
    run_id: int,
    *,
    started: datetime,
    error: str,
    status: str = "failed",
    given: Mapping[str, Any] | None = None,
) -> Path:
    """Write how a plant's run ended that has asked no station for anything.

    Parameters
    ----------
    runs : Path
        The server's folder of runs.
    run_id : int
        Flower's.
    started : datetime
    error : str
        Why, naming no path.
    status : {"failed", "stopped"}
    given : mapping, optional
        The run config as it came, where it is known; paths in it are not told. Without it the
        record has no settings: nobody has read any.

    Returns
    -------
    Path
        The run's folder.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    record = RunRecord(
        settings=Settings(),
        method="federated",
        started=started,
        status=status,
        error=error,
        flower_run_id=str(run_id),
        hide_paths=True,
    )
    known = given or {}
    shown = {key: value for key, value in known.items() if key not in (*PATH_KEYS, "weights")}
    folder = runs / str(run_id)
    content = {**record.to_json(), "settings": shown, "seed": known.get("seed")}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RUN_FILE, json_text(content) + "\n")
    return folder
