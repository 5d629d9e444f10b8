"""The SuperLink in its own process: its calls wait for the database as long as somebody waits."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from common.plant.server.superlink_program import PATIENCE_SECONDS

#: Opens a database as a SuperLink does and writes into it; says how long it waited.
WRITE = """
import sqlite3, sys, time
from common.plant.server.superlink_program import prepare
prepare()
from flwr.supercore.sql_mixin import _set_sqlite_pragmas
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
_set_sqlite_pragmas(connection, None)
print("ready", flush=True)
sys.stdin.readline()
begun = time.monotonic()
connection.execute("CREATE TABLE later (a)")
print(connection.execute("PRAGMA busy_timeout").fetchone()[0], time.monotonic() - begun)
"""
HOLD = 5.5
"""Seconds: more than Flower's own patience."""


def test_a_call_waits_for_a_database_that_somebody_holds(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as superlink:
        assert superlink.stdin is not None
        assert superlink.stdout is not None
        assert superlink.stdout.readline() == "ready\n"
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        superlink.stdin.write("\n")
        superlink.stdin.flush()
        time.sleep(HOLD)
        holder.execute("COMMIT")
        holder.close()
        patience, waited = superlink.stdout.readline().split()
        assert superlink.wait(30) == 0
    assert float(patience) == PATIENCE_SECONDS * 1000
    assert HOLD - 1 < float(waited) < PATIENCE_SECONDS
