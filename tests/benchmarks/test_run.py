"""A benchmark that does not end in time is ended with what it started, and named."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks.run import run

# Starts a process, notes its id and waits for longer than any test lasts.
SLOW = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "w") as file:
    file.write(str(child.pid))
time.sleep(600)
"""


def runs(pid: int) -> bool:
    """Whether a process still works: one that ended may wait for whoever adopted it."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes in /proc")
def test_nothing_is_left_running_after_the_time_is_up(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    fault = run([sys.executable, "-c", SLOW, str(note)], minutes=5 / 60)
    assert fault is not None
    assert "not done within" in fault
    pid = int(note.read_text())
    until = time.monotonic() + 60
    while runs(pid):
        assert time.monotonic() < until, f"{pid} still runs"
        time.sleep(0.1)


def test_a_failure_is_told_with_its_exit_code() -> None:
    assert run([sys.executable, "-c", "raise SystemExit(3)"], minutes=1) == "exit code 3"
    assert run([sys.executable, "-c", "pass"], minutes=1) is None
