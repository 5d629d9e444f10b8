"""A database gives back what it no longer needs, and nobody who works with it waits for that."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from processes import wait_for

from common.plant.server import compaction

MEGABYTE = 10**6


def opened(path: Path) -> contextlib.closing[sqlite3.Connection]:
    """As Flower opens it."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA journal_mode = WAL")
    return contextlib.closing(connection)


def fill(connection: sqlite3.Connection, megabytes: int) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS message (body BLOB)")
    for _ in range(megabytes):
        connection.execute("INSERT INTO message VALUES (?)", (os.urandom(MEGABYTE),))


def test_a_new_database_shrinks_after_a_run_beside_one_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert "database compacted" in compaction.prepare(path)
    assert compaction.prepare(path) == ""
    with opened(path) as connection:
        fill(connection, 60)
        assert compaction.compact(path) is None  # nothing is spare
        connection.execute("DELETE FROM message")
        assert path.stat().st_size > 59 * MEGABYTE
        worker = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "writing\n"
        wait_for("the pages to be given back", lambda: compaction.compact(path) is not None, 60)
        told, _ = worker.communicate()
    assert worker.returncode == 0
    # A live call waits 5 s at most; the longest that one waited here, in seconds.
    assert float(told) < 2.0
    with opened(path):
        pass  # the last to close brings the log home
    assert path.stat().st_size < 9 * MEGABYTE


WRITER = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5.0)
print("writing", flush=True)
longest, until = 0.0, time.monotonic() + 4
while time.monotonic() < until:
    began = time.monotonic()
    c.execute("INSERT INTO message VALUES ('live')")
    longest = max(longest, time.monotonic() - began)
    time.sleep(0.01)
print(longest)
"""


def test_a_log_that_somebody_reads_is_cut_off_later(tmp_path: Path) -> None:
    path, log = tmp_path / "state.db", tmp_path / "state.db-wal"
    compaction.prepare(path)
    with opened(path) as connection, opened(path) as reader:
        fill(connection, 30)
        connection.execute("DELETE FROM message")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        assert compaction.compact(path) is not None
        assert log.stat().st_size > compaction.WORTH_BYTES
        reader.execute("COMMIT")
        assert compaction.compact(path) is None
        assert log.stat().st_size == 0


def test_an_old_database_is_changed_over_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path) as connection:
        fill(connection, 20)
        connection.execute("DELETE FROM message WHERE rowid > 2")
        # A SuperLink that works keeps it from being changed over, and is not disturbed.
        connection.execute("BEGIN IMMEDIATE")
        assert compaction.prepare(path).startswith("the database was not compacted (")
        connection.execute("COMMIT")
    told = compaction.prepare(path)
    assert told.startswith("database compacted: 20.")
    assert path.stat().st_size < 3 * MEGABYTE
    assert list(tmp_path.iterdir()) == [path]
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (2,)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_a_compaction_that_takes_too_long_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path) as connection:
        fill(connection, 30)
    size = path.stat().st_size
    assert compaction.prepare(path, patience=0.0) == (
        "the database was not compacted (interrupted)"
    )
    assert path.stat().st_size == size
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (30,)


def test_what_is_no_database_is_said_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"no database" * 1000)
    assert "not a database" in compaction.prepare(path)
    assert compaction.compact(path) is None
    assert path.read_bytes() == b"no database" * 1000


def test_the_process_beside_a_superlink_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    compaction.prepare(path)
    with opened(path) as connection:
        fill(connection, 20)
        connection.execute("DELETE FROM message")
    script = (
        "import sys, os; from pathlib import Path\n"
        "from common.plant.server.compaction import start_beside\n"
        "print(start_beside(Path(sys.argv[1])).pid, flush=True)\n"
        "os.execvp('sleep', ['sleep', '300'])"  # as the command becomes the SuperLink
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    ) as superlink:
        assert superlink.stdout is not None
        beside = int(superlink.stdout.readline())
        assert "database compacted: 20." in superlink.stdout.readline()
        superlink.kill()
    until = time.monotonic() + 20
    while Path(f"/proc/{beside}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{beside}").exists()
