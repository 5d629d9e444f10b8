"""What can be asked of a journal."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from common.errors import InputError
from common.line.journal.checks import verdict_of
from common.line.journal.images import KEPT, ImageStore
from common.line.journal.rows import Entry, Head, Review, Summary, Switch, ThresholdChange, Verdict
from common.line.journal.schema import COLUMNS, DATABASE, database_error, open_to_read
from common.line.journal.search import Filters, find_page
from common.line.journal.text import file_text
from common.line.journal.times import normalized

_VERDICT: Final = tuple(field.name for field in fields(Verdict))
_READ_AT_ONCE: Final = 500
_KEPT_NOW: Final = (
    "(SELECT i.event FROM images i WHERE i.image_sha256 = v.image_sha256 "
    "ORDER BY i.seq DESC LIMIT 1)"
)
_ENTRY: Final = (
    f"SELECT v.seq, v.judged_at, v.reviewed, {_KEPT_NOW}, "
    f"{', '.join(f'v.{name}' for name in _VERDICT)} FROM verdicts v"
)


class JournalReader:
    """Everything that can be asked of a journal; safe to be used by several threads.

    Parameters
    ----------
    folder : Path
        The journal's; `Journal.reading` opens one.

    Raises
    ------
    InputError
        If there is no journal, or another version's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = ImageStore(folder)
        self._path = folder / DATABASE
        self._connection = open_to_read(self._path)
        self._reading = threading.RLock()

    def parts(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        part: str | None = None,
        category: str | None = None,
        anomalous: bool | None = None,
        reviewed: bool | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[Entry]:
        """One page of judged parts, the newest first.

        Parameters
        ----------
        since, until : str or datetime, optional
            ISO times (without a zone: UTC); from `since` on, before `until`.
        part, category : str, optional
            Exactly.
        anomalous, reviewed : bool, optional
        after : int, optional
            `id` of the last entry of the page before.
        limit : int
            1 to 1000.

        Raises
        ------
        InputError
            If an argument cannot be used, or `after` is no part.
        """
        filters = Filters(since, until, part, category, anomalous, reviewed)
        with self._asking() as connection:
            found = find_page(connection, filters, after, limit)
            own = {entry.id: entry for entry in _entries(connection, found)}
        return [own[seq] for seq in found]

    def entry(self, id: int) -> Entry:
        """One judged part; `InputError` if there is none of that number."""
        with self._asking() as connection:
            found = list(_entries(connection, [id])) if 0 < id < 2**63 else []
        if not found:
            raise InputError(f"part {id}: the journal has no part of this id")
        return found[0]

    def entries(self) -> Iterator[Entry]:
        """All parts, the oldest first, read in blocks; what is added meanwhile comes, too."""
        last = 0
        while True:
            with self._asking() as connection:
                rows = connection.execute(
                    "SELECT seq FROM verdicts WHERE seq > ? ORDER BY seq LIMIT ?",
                    (last, _READ_AT_ONCE),
                )
                block = [row[0] for row in rows]
                found = list(_entries(connection, block))
            if not found:
                return
            yield from found
            last = block[-1]

    def image(self, id: int) -> bytes | None:
        """The kept image file of a part; None if it is not kept (any more)."""
        entry = self.entry(id)
        return self.store.read(entry.verdict.image_sha256) if entry.image_kept else None

    def reviews(self, id: int) -> list[Review]:
        """All reviews of a part, in order."""
        with self._asking() as connection:
            return [Review(*row) for row in connection.execute(f"{_REVIEW} ORDER BY seq", (id,))]

    def switches(self, until: str | datetime | None = None, limit: int = 10) -> list[Switch]:
        """Model switches before a time, the newest first."""
        return [Switch(*row) for row in self._latest("switches", until, limit)]

    def threshold_changes(
        self,
        category: str | None = None,
        until: str | datetime | None = None,
        limit: int = 10,
    ) -> list[ThresholdChange]:
        """Threshold changes before a time, the newest first."""
        rows = self._latest("thresholds", until, limit, category)
        return [ThresholdChange(*row) for row in rows]

    def is_judged(self, name: str, image_sha256: str) -> bool:
        """Whether a watched file of this path and content is in the journal."""
        with self._asking() as connection:
            found = connection.execute(
                "SELECT 1 FROM verdicts WHERE source = 'watch' AND name = ? AND image_sha256 = ?",
                (file_text(name), image_sha256),
            )
            return found.fetchone() is not None

    def judged_files(self, folder: Path) -> set[tuple[str, str]]:
        """Watched files below a folder that are in the journal: (path as `file_text`, sha256)."""
        start = file_text(f"{folder}/")
        with self._asking() as connection:
            return set(
                connection.execute(
                    "SELECT name, image_sha256 FROM verdicts WHERE source = 'watch' "
                    "AND name >= ? AND name < ?",
                    (start, f"{start[:-1]}0"),  # "0" follows "/"
                )
            )

    def end(self) -> int:
        """Place of the last row of any kind; 0 without one."""
        with self._asking() as connection:
            return _end(connection)

    def news(self, after: int, limit: int) -> list[Entry | Review | Switch | ThresholdChange]:
        """Rows behind a place that say something new, in their order.

        Parameters
        ----------
        after : int
            Place of the last row that is known; 0 for none.
        limit : int
            So many at most.
        """
        with self._asking() as connection:
            found = connection.execute(f"{_NEWS} ORDER BY seq LIMIT ?", (*[after] * 4, limit))
            places: dict[str, list[int]] = {}
            for seq, kind in found:
                places.setdefault(kind, []).append(seq)
            rows: list[Entry | Review | Switch | ThresholdChange] = []
            rows += _entries(connection, places.get("verdicts", []))
            for kind, made in (
                ("reviews", _review),
                ("switches", Switch),
                ("thresholds", ThresholdChange),
            ):
                columns = ", ".join(("seq", *COLUMNS[kind]))
                for seq in places.get(kind, ()):
                    query = f"SELECT {columns} FROM {kind} WHERE seq = ?"
                    rows.append(made(*connection.execute(query, (seq,)).fetchone()))
        return sorted(rows, key=lambda row: row.id)

    def summary(self) -> Summary:
        """The journal in a few numbers; it looks at every part once."""
        with self._asking() as connection:
            return _summary(connection)

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        """The reading connection, for one thread at a time, in one state of the database."""
        with self._reading:
            try:
                self._connection.execute("BEGIN")
                try:
                    yield self._connection
                finally:
                    self._connection.execute("ROLLBACK")
            except sqlite3.ProgrammingError as error:
                raise InputError(f"{self._path}: the journal is closed ({error})") from error
            except sqlite3.Error as error:
                raise database_error(self._path, error) from error

    def _latest(
        self, kind: str, until: str | datetime | None, limit: int, category: str | None = None
    ) -> list[tuple[Any, ...]]:
        columns = COLUMNS[kind]
        where, given = ["1"], []
        if until is not None:
            where.append(f"{columns[0]} < ?")
            given.append(normalized(until, "until"))
        if category is not None:
            where.append("category = ?")
            given.append(category)
        with self._asking() as connection:
            return connection.execute(
                f"SELECT seq, {', '.join(columns)} FROM {kind} WHERE {' AND '.join(where)} "
                "ORDER BY seq DESC LIMIT ?",
                (*given, limit),
            ).fetchall()


_REVIEW: Final = (
    "SELECT seq, part_id, reviewed_at, verdict, author, note FROM reviews WHERE part_id = ?"
)


_NEWS: Final = " UNION ALL ".join(
    f"SELECT seq, '{kind}' FROM {kind} WHERE seq > ?"
    for kind in ("verdicts", "reviews", "switches", "thresholds")
)


def _review(id: int, reviewed_at: str, part_id: int, verdict: str, by: str, note: str) -> Review:
    """A row of `reviews`, in the order of its columns."""
    return Review(id, part_id, reviewed_at, verdict, by, note)


def _end(connection: sqlite3.Connection) -> int:
    query = "SELECT coalesce(max(seq), 0) FROM"
    return max(connection.execute(f"{query} {kind}").fetchone()[0] for kind in COLUMNS)


def _entries(connection: sqlite3.Connection, ids: list[int]) -> Iterator[Entry]:
    """Entries of these ids, in order of id."""
    for begin in range(0, len(ids), _READ_AT_ONCE):
        block = ids[begin : begin + _READ_AT_ONCE]
        marks = ", ".join("?" * len(block))
        for row in connection.execute(f"{_ENTRY} WHERE v.seq IN ({marks}) ORDER BY v.seq", block):
            seq, judged_at, reviewed, event, *own = row
            review = None
            if reviewed:
                latest = connection.execute(f"{_REVIEW} ORDER BY seq DESC LIMIT 1", (seq,))
                if (found := latest.fetchone()) is not None:
                    review = Review(*found)
            yield Entry(
                seq,
                judged_at,
                verdict_of(dict(zip(_VERDICT, own, strict=True))),
                review,
                event == KEPT,
            )


def _summary(connection: sqlite3.Connection) -> Summary:
    def one(query: str) -> Any:
        return connection.execute(query).fetchone()

    rows = {kind: one(f"SELECT count(*) FROM {kind}")[0] for kind in COLUMNS}
    categories: dict[str, dict[str, int]] = {}
    for category, anomalous, reviewed, count in connection.execute(
        "SELECT category, anomalous, reviewed, count(*) FROM verdicts "
        "GROUP BY category, anomalous, reviewed"
    ):
        own = categories.setdefault(
            category, dict.fromkeys(("judged", "passed", "rejected", "undecided", "reviewed"), 0)
        )
        own["judged"] += count
        own[{0: "passed", 1: "rejected", None: "undecided"}[anomalous]] += count
        own["reviewed"] += count if reviewed else 0
    first = one("SELECT judged_at FROM verdicts ORDER BY seq LIMIT 1")
    last = one("SELECT judged_at FROM verdicts ORDER BY seq DESC LIMIT 1")
    images, size = one(
        "SELECT total(event = 'kept') - total(event = 'removed'), "
        "total(CASE event WHEN 'kept' THEN bytes ELSE -bytes END) FROM images"
    )
    head = one(
        "SELECT head_seq, head_hash, signed_at, why, key, signature, seq FROM heads "
        "ORDER BY seq DESC LIMIT 1"
    )
    return Summary(
        rows=rows,
        first=first and first[0],
        last=last and last[0],
        categories=categories,
        images=int(images),
        image_bytes=int(size),
        head=head and Head(*head[:-1]),
        rows_since=_end(connection) - (head[-1] if head else 0),
    )
