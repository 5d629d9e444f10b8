"""One page of judged parts, at the same cost whatever is asked for.

A filter that is left out is every value that it could have: the page is the merge of one ordered
walk for each combination of category, verdict and "reviewed", and every walk is a range of one
index. Nothing is scanned and thrown away, however few parts fit.
"""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from common.errors import InputError
from common.line.journal.times import normalized

LARGEST_PAGE: Final = 1000
_END_OF_TIME: Final = "9"
_LARGEST_ID: Final = 2**63 - 1
Place = tuple[str, int]
"""When a part was judged, and its id: the order of pages."""


@dataclass(frozen=True)
class Filters:
    """What is looked for; see `JournalReader.parts`."""

    since: str | datetime | None = None
    until: str | datetime | None = None
    part: str | None = None
    category: str | None = None
    anomalous: bool | None = None
    reviewed: bool | None = None


def find_page(
    connection: sqlite3.Connection, filters: Filters, after: int | None, limit: int
) -> list[int]:
    """Ids of the parts of one page, the newest first.

    Parameters
    ----------
    connection : Connection
    filters : Filters
    after : int or None
        Last id of the page before.
    limit : int
        1 to 1000.

    Raises
    ------
    InputError
        If a time is none, `limit` is out of range, or `after` is no part.
    """
    if isinstance(limit, bool) or not 1 <= limit <= LARGEST_PAGE:
        raise InputError(f"limit {limit}: expected 1 to {LARGEST_PAGE}")
    since = normalized(filters.since, "since") if filters.since is not None else ""
    end: Place = (_END_OF_TIME, 0)
    if filters.until is not None:
        end = (normalized(filters.until, "until"), 0)
    if after is not None:
        end = min(end, _place(connection, after))
    walks = (
        _walk(connection, filters.part, own, since, end, limit)
        for own in itertools.product(
            _categories(connection, filters.part, filters.category),
            (True, False, None) if filters.anomalous is None else (filters.anomalous,),
            (True, False) if filters.reviewed is None else (filters.reviewed,),
        )
    )
    merged = heapq.merge(*walks, reverse=True)
    return [seq for _, seq in itertools.islice(merged, limit)]


def _place(connection: sqlite3.Connection, after: int) -> Place:
    found = None
    if 0 <= after <= _LARGEST_ID:
        found = connection.execute(
            "SELECT judged_at, seq FROM verdicts WHERE seq = ?", (after,)
        ).fetchone()
    if found is None:
        raise InputError(
            f"after {after}: no part has this id; expected the last of the page before"
        )
    return (found[0], found[1])


def _categories(
    connection: sqlite3.Connection, part: str | None, category: str | None
) -> Iterator[str]:
    """Categories that there are, by one look into the index each."""
    if category is not None:
        yield category
        return
    table, where, given = _source(part)
    last = ""
    while True:
        found = connection.execute(
            f"SELECT min(category) FROM {table} WHERE {where} category > ?", (*given, last)
        ).fetchone()[0]
        if found is None:
            return
        yield found
        last = found


def _walk(
    connection: sqlite3.Connection,
    part: str | None,
    own: tuple[str, bool | None, bool],
    since: str,
    end: Place,
    limit: int,
) -> Iterator[Place]:
    """Places of one combination, the newest first, read as far as they are asked for."""
    table, where, given = _source(part)
    category, anomalous, reviewed = own
    verdict = "IS NULL" if anomalous is None else f"= {int(anomalous)}"
    yield from connection.execute(
        f"SELECT judged_at, seq FROM {table} WHERE {where} category = ? AND anomalous {verdict} "
        "AND reviewed = ? AND judged_at >= ? AND (judged_at, seq) < (?, ?) "
        "ORDER BY judged_at DESC, seq DESC LIMIT ?",
        (*given, category, int(reviewed), since, *end, limit),
    )


def _source(part: str | None) -> tuple[str, str, tuple[str, ...]]:
    """Table and index, condition, and its values."""
    if part is None:
        return "verdicts INDEXED BY verdicts_by_category", "", ()
    return "verdicts INDEXED BY verdicts_by_part", "part = ? AND", (part,)
