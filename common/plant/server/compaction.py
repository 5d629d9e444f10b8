"""The SuperLink's database gives back what it no longer needs, while the SuperLink works.

Flower's database keeps the size of the busiest moment of its life: a run's messages are deleted,
their pages stay. SQLite's `VACUUM` would write all anew under one lock, and a SuperLink gives up
a call that waits too long for it (`superlink_program`). Instead the database is made to give pages
back in small steps (`auto_vacuum = INCREMENTAL`, chosen while no SuperLink works yet), and a small
process beside the SuperLink takes these steps after every run. Each holds the lock for some
hundredths of a second.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.errors import explained
from common.runs.processes import end_with_parent

LOOK_SECONDS: Final = 20.0
"""Between two looks for pages that nobody needs."""
WORTH_BYTES: Final = 8 * 2**20
"""Less than this is left: the next run needs it again."""
STEP_PAGES: Final = 500
PAUSE_SECONDS: Final = 0.05
"""After every step: whoever waits for the database comes first."""
START_SECONDS: Final = 120.0
"""Longest that the first compaction may keep a SuperLink from starting."""
_OPERATIONS: Final = 10
"""Of the database, between two looks at the clock: one may move a message of megabytes."""
_INCREMENTAL: Final = 2
_TEMPORARY: Final = "SQLITE_TMPDIR"


def prepare(database: Path, patience: float = START_SECONDS) -> str:
    """Make a database that no SuperLink has open give pages back; compact it.

    Parameters
    ----------
    database : Path
        Made if it is not there.
    patience : float
        Seconds after which a compaction that is not done is given up, and nothing is changed.

    Returns
    -------
    str
        What was done, in one line; empty if there was nothing to do.
    """
    try:
        # What is written anew meanwhile lies beside it: /tmp may be small, and in memory.
        with _temporary(database.parent), _connected(database) as connection:
            mode, before = _number(connection, "auto_vacuum"), _bytes(connection)
            spare = _spare(connection)
            if mode == _INCREMENTAL and spare < WORTH_BYTES:
                return ""
            until = time.monotonic() + patience
            connection.set_progress_handler(lambda: time.monotonic() > until, _OPERATIONS)
            connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
            # Without this the mode holds for a new database alone.
            connection.execute("VACUUM")
            connection.set_progress_handler(None, 0)
            _shorten_log(connection)
            after = _bytes(connection)
    except (sqlite3.Error, OSError) as error:
        # It works as it is: a larger file is no reason to keep a plant from running.
        return f"the database was not compacted ({_said(error)})"
    return f"database compacted: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"


def compact(database: Path) -> tuple[int, int] | None:
    """Give the pages back that nobody needs, step by step, beside a SuperLink that works.

    Returns
    -------
    (int, int) or None
        Bytes before and after; None if it was not worth it, or somebody held the database.
    """
    try:
        with _connected(database) as connection:
            if _number(connection, "auto_vacuum") != _INCREMENTAL:
                return None
            before, spare = _bytes(connection), _spare(connection)
            if spare < WORTH_BYTES:
                # At the last look somebody was reading: then the log cannot be cut off.
                if _log_bytes(database) > WORTH_BYTES:
                    _shorten_log(connection)
                return None
            while spare:
                # `execute` would take one page at a time.
                connection.executescript(f"PRAGMA incremental_vacuum({STEP_PAGES})")
                left = _spare(connection)
                if left >= spare:
                    break
                spare = left
                time.sleep(PAUSE_SECONDS)
            _shorten_log(connection)
            return before, _bytes(connection)
    except sqlite3.Error:
        return None  # it is busy: the next look is soon


def start_beside(database: Path) -> subprocess.Popen[bytes] | None:
    """Start the process that compacts a database for as long as this process lives.

    It lives on when this process becomes the SuperLink. None if it cannot be started.
    """
    try:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(database), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[3],
            preexec_fn=end_with_parent,
        )
    except OSError:
        return None


def _shorten_log(connection: sqlite3.Connection) -> None:
    """Bring the write-ahead log's pages home and cut it off, if nobody is at it."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _log_bytes(database: Path) -> int:
    try:
        return database.with_name(f"{database.name}-wal").stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def _connected(database: Path) -> Iterator[sqlite3.Connection]:
    # No patience at all: who works with the database never waits for whom it does not need.
    with contextlib.closing(
        sqlite3.connect(database, timeout=0.0, isolation_level=None)
    ) as connection:
        yield connection


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    before = os.environ.get(_TEMPORARY)
    os.environ[_TEMPORARY] = str(folder)
    try:
        yield
    finally:
        del os.environ[_TEMPORARY]
        if before is not None:
            os.environ[_TEMPORARY] = before


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _bytes(connection: sqlite3.Connection) -> int:
    return _number(connection, "page_count") * _number(connection, "page_size")


def _spare(connection: sqlite3.Connection) -> int:
    return _number(connection, "freelist_count") * _number(connection, "page_size")


def _said(error: Exception) -> str:
    return explained(error) if isinstance(error, OSError) else str(error)


def _main(database: Path, superlink: int) -> None:
    """Look again and again, until the SuperLink is gone."""
    while os.getppid() == superlink:
        if database.is_file() and (done := compact(database)) is not None:
            before, after = done
            print(
                f"database compacted: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now",
                flush=True,
            )
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        _main(Path(sys.argv[1]), int(sys.argv[2]))
