"""Whether a journal is what was written: every row, every head, every kept image."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import FedPatchCoreError
from common.line.journal.chain import first_hash, row_hash
from common.line.journal.findings import Findings
from common.line.journal.images import KEPT, ImageStore
from common.line.journal.schema import (
    COLUMNS,
    DATABASE,
    MIGRATIONS,
    database_error,
    open_to_read,
)
from common.line.journal.verify_heads import HeadChecks, held_heads
from common.patchcore.model_files import file_digest

_MOST_COMPLAINTS: Final = 20
Row = tuple[int, str, tuple[Any, ...]]
Keys = ec.EllipticCurvePublicKey | Sequence[ec.EllipticCurvePublicKey] | None


def verify(folder: Path, public_key: Keys = None, *, images: bool = True) -> Findings:
    """Read a whole journal and say what is not as it was written.

    Parameters
    ----------
    folder : Path
        The journal's; somebody may be writing it.
    public_key : public key, or several, optional
        The station's (those that it has had): who has signed is checked by them. Without, only the
        chain is.
    images : bool
        Whether every kept image file is read as well.

    Returns
    -------
    Findings
        The first of each kind of fault, in the order of the chain.

    Raises
    ------
    InputError
        If there is no journal, or another version's.

    Notes
    -----
    Rows are streamed in the order of the chain; memory does not grow with them. What a signed
    chain cannot show is told in `docs/journal.md`.
    """
    findings = Findings()
    keys = [public_key] if isinstance(public_key, ec.EllipticCurvePublicKey) else public_key
    path = folder / DATABASE
    connection = open_to_read(path)
    # A byte that is no text any more is to be found, not to stop the search.
    connection.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    try:
        with held_heads(folder) as (lines, size):
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            journal = connection.execute("SELECT id, made_at FROM journal").fetchall()
        if len(journal) != 1:
            findings.add("database", None, f"{len(journal)} rows tell which journal this is")
            return findings
        _check_schema(connection, findings)
        heads = HeadChecks(findings, journal[0][0], lines, size, keys)
        _check_chain(connection, first_hash(*journal[0]), findings, heads)
        if images:
            _check_images(connection, ImageStore(folder), findings)
        _check_file(connection, findings)
    except sqlite3.Error as error:
        findings.add("database", None, str(database_error(path, error)))
    finally:
        connection.close()
    return findings


def _check_chain(
    connection: sqlite3.Connection, first: bytes, findings: Findings, heads: HeadChecks
) -> None:
    findings.rows = dict.fromkeys(COLUMNS, 0)
    previous, last = first, 0
    heads.row(0, first.hex(), None)
    streams = [_rows(connection, kind) for kind in COLUMNS]
    for seq, kind, (*values, stored) in heapq.merge(*streams, key=lambda row: row[0]):
        findings.rows[kind] += 1
        if seq == last:
            findings.add("row twice", seq, f"row {seq} is there twice, once among the {kind}")
            continue
        missing = seq - last - 1
        if missing:
            which = f"row {last + 1}" if missing == 1 else f"rows {last + 1} to {seq - 1}"
            is_are = "is" if missing == 1 else "are"
            findings.add("row missing", last + 1, f"{which} {is_are} missing", missing)
        if kind == "verdicts":
            *values, reviewed, has_review = values
            if reviewed != has_review:
                findings.add(
                    "review mark",
                    seq,
                    f"part {seq} is marked reviewed={reviewed}, and there is "
                    f"{'a' if has_review else 'no'} review of it",
                )
        fields = dict(zip(COLUMNS[kind], values, strict=True))
        found = _hash(previous, seq, kind, fields)
        # Behind a gap the row's own hash cannot be told: what it covers is not there.
        if not missing and found != stored:
            findings.add(
                "row changed",
                seq,
                f"row {seq} ({kind}, {fields[COLUMNS[kind][0]]}) was changed, or the hash of the "
                "row before it was: they do not fit",
                table=kind,
            )
        previous = stored if isinstance(stored, bytes) else b""
        heads.row(seq, previous.hex(), fields if kind == "heads" else None)
        last = seq
    findings.last = last
    heads.finish(last)


def _rows(connection: sqlite3.Connection, kind: str) -> Iterator[Row]:
    columns = ", ".join(COLUMNS[kind])
    if kind == "verdicts":
        columns += ", reviewed, EXISTS (SELECT 1 FROM reviews WHERE part_id = verdicts.seq)"
    # By the table itself: an index could have been changed to tell something else.
    rows = connection.execute(f"SELECT seq, {columns}, hash FROM {kind} NOT INDEXED ORDER BY seq")
    for seq, *values in rows:
        yield seq, kind, tuple(values)


def _hash(previous: bytes, seq: int, kind: str, fields: dict[str, Any]) -> bytes | None:
    """The hash that a row should have; None if it holds what no row can."""
    try:
        return row_hash(previous, seq, kind, fields)
    except (TypeError, ValueError):
        return None


def _check_schema(connection: sqlite3.Connection, findings: Findings) -> None:
    """Tables and indexes as they were made; nothing else that could act on rows."""
    model = sqlite3.connect(":memory:")
    try:
        for statement in (one for version in MIGRATIONS for one in version):
            model.execute(statement)
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        expected, found = dict(model.execute(query)), dict(connection.execute(query))
    finally:
        model.close()
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            said = "is missing" if name not in found else "was added"
            said = said if name not in expected or name not in found else "was changed"
            findings.add("database", None, f"{name} {said}: the tables are not a journal's")


def _check_file(connection: sqlite3.Connection, findings: Findings) -> None:
    """Pages and indexes: an index that was changed hides rows from a search."""
    for (said,) in connection.execute(f"PRAGMA integrity_check({_MOST_COMPLAINTS})"):
        if said != "ok":
            findings.add("database", None, f"SQLite's own check says: {str(said)[:200]}")
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        findings.add("database", row, f"row {row} of {table} belongs to no row of {parent}")


def _check_images(connection: sqlite3.Connection, store: ImageStore, findings: Findings) -> None:
    """Every image that is kept by the rows is there and is itself."""
    kept = connection.execute(
        "SELECT k.seq, k.image_sha256, k.bytes FROM images k WHERE k.event = ? AND NOT EXISTS "
        "(SELECT 1 FROM images r WHERE r.image_sha256 = k.image_sha256 AND r.seq > k.seq) "
        "ORDER BY k.seq",
        (KEPT,),
    )
    for seq, sha256, _ in kept:
        path = store.path(str(sha256))
        try:
            found = file_digest(path)
        except FedPatchCoreError as error:
            gone = not path.exists()
            why = f"{path.name} is missing" if gone else str(error)
            findings.add("image", seq, f"the image of row {seq} cannot be read: {why}")
            continue
        if found != sha256:
            findings.add(
                "image", seq, f"the image of row {seq} was changed: {path} has sha256 {found}"
            )
        else:
            findings.images += 1
