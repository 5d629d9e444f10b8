"""The journal as files that others read: `results.json`, or a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from common.inspection.results import COLUMNS, csv_row, json_entry
from common.line.journal.rows import Entry
from common.line.journal.text import spreadsheet_text
from common.system.files import replacing

ENDINGS: Final = (".csv", ".json")
MORE_COLUMNS: Final = (
    "id",
    "judged_at",
    "part",
    "threshold_source",
    "model_sha256",
    "run_id",
    "image_sha256",
    "source",
    "seconds",
    "program_version",
    "review",
    "reviewed_by",
    "reviewed_at",
    "review_note",
)
"""Behind those of `results.csv`."""


def result_entry(entry: Entry) -> dict[str, Any]:
    """A part as an entry of `results.json`, and with what the journal knows beside."""
    verdict, review = entry.verdict, entry.review
    facts: dict[str, Any] = {
        "path": verdict.name or "",
        "category": verdict.category,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "anomalous": verdict.anomalous,
        "regions": verdict.regions,
        "overlay": None,
        "id": entry.id,
        "judged_at": entry.judged_at,
        "part": verdict.part,
        "threshold_source": verdict.threshold_source,
        "model_sha256": verdict.model_sha256,
        "run_id": verdict.run_id,
        "image_sha256": verdict.image_sha256,
        "source": verdict.source,
        "seconds": verdict.seconds,
        "program_version": verdict.program_version,
        "review": review and review.verdict,
        "reviewed_by": review and review.by,
        "reviewed_at": review and review.reviewed_at,
        "review_note": review and review.note,
    }
    return facts if verdict.error is None else {**facts, "error": verdict.error}


def write_export(entries: Iterable[Entry], path: Path) -> int:
    """Write parts into a file that appears whole; it is written as it is read.

    Parameters
    ----------
    entries : iterable of Entry
    path : Path
        Ends with `.json` or `.csv`.

    Returns
    -------
    int
        How many.

    Raises
    ------
    InputError
        If the file is to be of another kind.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: expected a file name that ends with .csv or .json")
    as_json = path.suffix.lower() == ".json"
    count = 0
    with replacing(path, durable=True) as file:
        file.write(b"[" if as_json else _line(dict(zip(_ALL, _ALL, strict=True))))
        for count, entry in enumerate(entries, 1):
            facts = result_entry(entry)
            if as_json:
                file.write(f"{',' if count > 1 else ''}\n{json_entry(facts)}".encode())
            else:
                more = {name: facts[name] for name in MORE_COLUMNS}
                file.write(_line({**csv_row(facts), **more}))
        file.write(b"\n]\n" if as_json and count else b"]\n" if as_json else b"")
    return count


_ALL: Final = (*COLUMNS, *MORE_COLUMNS)


def _line(row: dict[str, Any]) -> bytes:
    """One line; text that a spreadsheet would take for a formula is text to it, too."""
    line = io.StringIO()
    safe = [
        spreadsheet_text(value) if isinstance(value := row.get(name), str) else value
        for name in _ALL
    ]
    csv.writer(line, lineterminator="\n").writerow(safe)
    return line.getvalue().encode()
