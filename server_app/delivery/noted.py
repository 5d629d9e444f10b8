"""What became of a delivery, added to the files of a run that are there already."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.common import log

from common.analysis.report import write_report
from common.errors import reason
from common.paths import RUN_FILE, json_text
from common.runs.flower_run import LOG_PREFIX
from common.runs.unfinished import read_record
from common.system.files import replacing


def note_delivery(
    folder: Path,
    found: Mapping[str, Mapping[str, Any]],
    *,
    seconds: float | None = None,
    bytes_down: Mapping[str, int] | None = None,
    bytes_up: Mapping[str, int] | None = None,
) -> bool:
    """Add what became of the delivery to `stations[].delivery` of a run's record.

    Parameters
    ----------
    folder : Path
        Of the run.
    found : mapping of station to facts
        As `sending.told` gives them.
    seconds : float, optional
        That it took.
    bytes_down, bytes_up : mapping of station to int, optional
        What travelled for it, to be added to the run's.

    Returns
    -------
    bool
        Whether there is a record to be added to. It is replaced whole or not at all.
    """
    record = read_record(folder)
    if record is None or not isinstance(record.get("stations"), list):
        return False
    for station in record["stations"]:
        name = station.get("name")
        if name in found:
            station["delivery"] = dict(found[name])
        for key, more in (("bytes_down", bytes_down), ("bytes_up", bytes_up)):
            added = (more or {}).get(name, 0)
            station[key] = station.get(key, 0) + added
            sums = record.get("bytes") or {}
            side = key.removeprefix("bytes_")
            if side in sums:
                sums[side] += added
    if seconds is not None:
        taken = record.setdefault("seconds", {})
        total = taken.pop("total", 0.0)
        taken["deliver"] = taken.get("deliver", 0.0) + seconds
        taken["total"] = total + seconds
    with replacing(folder / RUN_FILE, durable=True) as file:
        file.write((json_text(record) + "\n").encode())
    return True


def draw_report_again(folder: Path) -> None:
    """Let the run's page tell of the delivery; the page before stays if that fails."""
    page = folder / "report.html"
    if not page.is_file():
        return
    try:
        write_report([folder], page)
    except Exception as error:  # a page must never cost what it shows
        log(logging.WARNING, "%s the report does not tell of the delivery: %s", LOG_PREFIX,
            reason(error))  # fmt: skip
