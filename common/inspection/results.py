"""`results.json` and `results.csv`."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from common.inspection.journal import NAME

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


def write_results(entries: Sequence[dict[str, Any]], out: Path) -> None:
    """Write both files, each whole or not at all.

    Parameters
    ----------
    entries : sequence of dict
        As `Result.to_json` gives them.
    out : Path
    """
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(list(entries), indent=2, allow_nan=False) + "\n"
    _replace(out / "results.json", text)
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(entry) for entry in entries)
    _replace(out / "results.csv", table.getvalue())


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """One line for spreadsheets: of the regions their number and the place of the worst."""
    regions = entry["regions"]
    row = {key: entry.get(key) for key in COLUMNS}
    row["anomalous"] = {True: "true", False: "false", None: ""}[entry["anomalous"]]
    row["regions"] = len(regions)
    row["largest_area"] = max((region["area"] for region in regions), default=None)
    for key in ("peak_row", "peak_column"):
        row[key] = regions[0][key] if regions else None
    return row


def _replace(path: Path, text: str) -> None:
    building = path.with_name(f".{path.name}.partial")
    building.write_text(text, encoding="utf-8")
    os.replace(building, path)
