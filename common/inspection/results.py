"""`results.json` and `results.csv`."""

from __future__ import annotations

import csv
import io
import math
import shutil
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from common.inspection.journal import NAME
from common.paths import json_text, path_text
from common.system.files import write_whole

RESULT_FILES: Final = ("results.json", "results.csv")
COLUMNS: Final = (
    "path",
    "category",
    "score",
    "threshold",
    "anomalous",
    "regions",
    "largest_area",
    "peak_row",
    "peak_column",
    "overlay",
    "error",
)

_PAUSE: Final = 20.0
"""Writing rests so many times as long as it took."""


def clear_earlier(out: Path) -> None:
    """Remove the overlays of an earlier inspection: they would pass for those of this one.

    Raises
    ------
    InputError
        If `out` holds the results of a watched folder, which are not to be lost.
    """
    if (out / NAME).is_file():
        raise InputError(f"{out}: holds the results of a watched folder; give another --out")
    if (out / "results.json").is_file():
        shutil.rmtree(out / "overlays", ignore_errors=True)
        (out / "results.json").unlink()


class GrowingResults:
    """Both files of a watch that may go on for days.

    An entry is put into words once; writing the files is then a matter of joining. They are
    written when something is new, and so seldom that it takes a twentieth of the time at most: the
    journal holds what is not in them yet.

    Parameters
    ----------
    out : Path
    entries : sequence of dict
        Those judged before.
    interval : float
        Least seconds between two writings.
    """

    def __init__(self, out: Path, entries: Sequence[dict[str, Any]], interval: float = 1.0) -> None:
        self.out, self.interval = out, interval
        self._json = [json_entry(entry) for entry in entries]
        self._csv = [_csv_lines([csv_row(entry)]) for entry in entries]
        self._due = -math.inf
        self._pending = True

    def add(self, entry: dict[str, Any]) -> None:
        """Take in one more entry."""
        self._json.append(json_entry(entry))
        self._csv.append(_csv_lines([csv_row(entry)]))
        self._pending = True

    def write_when_due(self) -> None:
        """Write if anything is new and the last time was long enough ago."""
        if self._pending and time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Write if anything is new, each file whole or not at all."""
        if not self._pending:
            return
        started = time.monotonic()
        inner = ",\n".join(self._json)
        as_json, as_csv = (self.out / name for name in RESULT_FILES)
        write_whole(as_json, f"[\n{inner}\n]\n" if inner else "[]\n")
        write_whole(as_csv, path_text(_csv_lines([], header=True) + "".join(self._csv)))
        self._pending = False
        finished = time.monotonic()
        self._due = finished + max(self.interval, _PAUSE * (finished - started))


def write_results(entries: Sequence[dict[str, Any]], out: Path) -> None:
    """Write both files, each whole or not at all.

    Parameters
    ----------
    entries : sequence of dict
        As `Result.to_json` gives them.
    out : Path
    """
    GrowingResults(out, entries).write()


def json_entry(entry: dict[str, Any]) -> str:
    """One entry as it is indented within a list."""
    return textwrap.indent(json_text(entry), "  ")


def _csv_lines(rows: Sequence[dict[str, Any]], header: bool = False) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def csv_row(entry: dict[str, Any]) -> dict[str, Any]:
    """One line for spreadsheets: of the regions their number and the place of the worst."""
    regions = entry["regions"]
    row = {key: entry.get(key) for key in COLUMNS}
    row["anomalous"] = {True: "true", False: "false", None: ""}[entry["anomalous"]]
    row["regions"] = len(regions)
    row["largest_area"] = max((region["area"] for region in regions), default=None)
    for key in ("peak_row", "peak_column"):
        row[key] = regions[0][key] if regions else None
    return row
