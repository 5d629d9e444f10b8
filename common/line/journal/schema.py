"""The database: its tables, its versions, and how it is opened."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from typing import Final
from urllib.parse import quote

from common.errors import FedPatchCoreError, InputError, RunError
from common.line.journal.times import now

DATABASE: Final = "journal.sqlite"
_APPLICATION: Final = 0x46504A31
"""SQLite's mark of whose a database is: `FPJ1`."""
_BUSY_SECONDS: Final = 10.0

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "verdicts": (
        "judged_at",
        "part",
        "category",
        "score",
        "threshold",
        "anomalous",
        "regions",
        "threshold_source",
        "model_sha256",
        "run_id",
        "image_sha256",
        "name",
        "source",
        "seconds",
        "program_version",
        "error",
    ),
    "reviews": ("reviewed_at", "part_id", "verdict", "author", "note"),
    "switches": ("switched_at", "model_sha256", "run_id", "author", "why"),
    "thresholds": ("changed_at", "category", "old", "new", "source", "author", "why"),
    "heads": ("signed_at", "head_seq", "head_hash", "why", "key", "signature"),
    "images": ("noted_at", "event", "image_sha256", "bytes", "why"),
}
"""Every kind of row with the fields that its hash covers. `seq` is its place in the one chain."""

_TABLES: Final = (
    "CREATE TABLE journal (id TEXT NOT NULL, made_at TEXT NOT NULL) STRICT",
    """CREATE TABLE verdicts (
        seq INTEGER PRIMARY KEY, judged_at TEXT NOT NULL, part TEXT, category TEXT NOT NULL,
        score REAL, threshold REAL, anomalous INTEGER, regions TEXT NOT NULL,
        threshold_source TEXT NOT NULL, model_sha256 TEXT NOT NULL, run_id TEXT NOT NULL,
        image_sha256 TEXT NOT NULL, name TEXT, source TEXT NOT NULL, seconds REAL NOT NULL,
        program_version TEXT NOT NULL, error TEXT, reviewed INTEGER NOT NULL DEFAULT 0,
        hash BLOB NOT NULL) STRICT""",
    """CREATE TABLE reviews (
        seq INTEGER PRIMARY KEY, reviewed_at TEXT NOT NULL,
        part_id INTEGER NOT NULL REFERENCES verdicts(seq), verdict TEXT NOT NULL,
        author TEXT NOT NULL, note TEXT NOT NULL, hash BLOB NOT NULL) STRICT""",
    """CREATE TABLE switches (
        seq INTEGER PRIMARY KEY, switched_at TEXT NOT NULL, model_sha256 TEXT NOT NULL,
        run_id TEXT NOT NULL, author TEXT NOT NULL, why TEXT NOT NULL,
        hash BLOB NOT NULL) STRICT""",
    """CREATE TABLE thresholds (
        seq INTEGER PRIMARY KEY, changed_at TEXT NOT NULL, category TEXT NOT NULL, old REAL,
        new REAL, source TEXT NOT NULL, author TEXT NOT NULL, why TEXT NOT NULL,
        hash BLOB NOT NULL) STRICT""",
    """CREATE TABLE heads (
        seq INTEGER PRIMARY KEY, signed_at TEXT NOT NULL, head_seq INTEGER NOT NULL,
        head_hash TEXT NOT NULL, why TEXT NOT NULL, key TEXT NOT NULL, signature TEXT NOT NULL,
        hash BLOB NOT NULL) STRICT""",
    """CREATE TABLE images (
        seq INTEGER PRIMARY KEY, noted_at TEXT NOT NULL, event TEXT NOT NULL,
        image_sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, why TEXT NOT NULL,
        hash BLOB NOT NULL) STRICT""",
)
INDEXES: Final = (
    # Every filter is an equality in one of the two, and the page's order follows: see `search`.
    "CREATE INDEX verdicts_by_category ON verdicts (category, anomalous, reviewed, judged_at)",
    "CREATE INDEX verdicts_by_part ON verdicts (part, category, anomalous, reviewed, judged_at) "
    "WHERE part IS NOT NULL",
    "CREATE INDEX verdicts_by_file ON verdicts (name, image_sha256) WHERE source = 'watch'",
    "CREATE INDEX reviews_by_part ON reviews (part_id)",
    "CREATE INDEX images_by_content ON images (image_sha256)",
)
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = ((*_TABLES, *INDEXES),)
"""Statements that make version n + 1 of version n; a version that has been out is never changed."""


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open the database, or make it, and bring it to this version.

    Raises
    ------
    InputError
        If the file is no journal, or a newer version's.
    RunError
        If the disk refuses.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _require_journal(connection, path, new=True)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            # Moving rows from the log into the database holds everybody up: seldom, in one go.
            connection.execute("PRAGMA wal_autocheckpoint=4000")
            _migrate(connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return connection


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open the database to read alone, beside a writer or without one.

    Raises
    ------
    InputError
        If there is no journal, it is another version's, or it cannot be read.
    """
    if not path.is_file():
        raise InputError(
            f"{path.parent}: no journal here; expected the folder that `serve --journal` names, "
            f"with {DATABASE} in it"
        )
    address = f"file:{quote(str(path))}?mode=ro"
    try:
        try:
            return _opened(address, path)
        except sqlite3.OperationalError:
            # On a disk that is mounted read-only nobody writes, and no shared memory can be made.
            if path.with_name(f"{DATABASE}-wal").exists():
                raise
            return _opened(f"{address}&immutable=1", path)
    except sqlite3.Error as error:
        raise database_error(path, error) from error


def _opened(address: str, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA query_only=ON")
        _require_journal(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_journal(connection: sqlite3.Connection, path: Path, new: bool = False) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if new and not (application or version or tables):
        return
    if application != _APPLICATION:
        raise InputError(
            f"{path}: is a database, but no journal of fedpatchcore; give another folder"
        )
    if version > len(MIGRATIONS):
        raise InputError(
            f"{path}: version {version} of the journal; this program knows versions up to "
            f"{len(MIGRATIONS)}; use the newer fedpatchcore that wrote it"
        )
    if version < 1 or (version < len(MIGRATIONS) and not new):
        raise InputError(
            f"{path}: version {version} of the journal; expected {len(MIGRATIONS)}; start the "
            "service once, which brings it to this version"
        )


def _migrate(connection: sqlite3.Connection) -> None:
    """One transaction for every version: a crash leaves a whole earlier one."""
    while (version := connection.execute("PRAGMA user_version").fetchone()[0]) < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            if version == 0:
                connection.execute(f"PRAGMA application_id={_APPLICATION}")
                connection.execute("INSERT INTO journal VALUES (?, ?)", (uuid.uuid4().hex, now()))
            connection.execute(f"PRAGMA user_version={version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def database_error(path: Path, error: sqlite3.Error) -> FedPatchCoreError:
    """Say what SQLite refused, as one line: what was found and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return RunError(f"{path}: the disk is full; make room on it; nothing was written")
    if primary == sqlite3.SQLITE_IOERR:
        return RunError(
            f"{path}: the disk cannot be read or written there ({error}); check disk, limits and "
            "cable; nothing was written"
        )
    if primary == sqlite3.SQLITE_NOTADB:
        return InputError(f"{path}: is no database; expected the journal of `serve --journal`")
    if primary == sqlite3.SQLITE_CORRUPT:
        return RunError(
            f"{path}: the database is damaged ({error}); run `fedpatchcore audit --verify` on it "
            "and go on in a new folder"
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return InputError(
            f"{path}: cannot be opened or written ({error}); check owner and mode of the folder"
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RunError(f"{path}: another program holds the database; close that, then try again")
    return RunError(f"{path}: {error}")
