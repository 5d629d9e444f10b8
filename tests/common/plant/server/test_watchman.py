"""The executor's watchman with a played SuperExec: real processes, real signals, real locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import end, wait_for

WATCHMAN = """
import logging, os, sys
from pathlib import Path
from common.plant.server.daemons import Daemon
from common.plant.server.watchman import Pauses, watch
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
runs, played = Path(sys.argv[1]), sys.argv[2]
daemon = Daemon((sys.executable, played, str(runs)), dict(os.environ), runs)
watch(daemon, runs, Pauses(first=0.2, longest=0.8, tick=0.1, end=2.0))
print("whole", flush=True)
"""
SUPEREXEC = """
# Starts one ServerApp for each file "task-N" that appears, and dies when told, as of a 500.
import os, subprocess, sys, time
from pathlib import Path
runs = Path(sys.argv[1])
(runs / f"superexec-{os.getpid()}").touch()
while True:
    for task in runs.glob("task-*"):
        task.unlink()
        number = task.name.partition("-")[2]
        subprocess.Popen([sys.executable, str(Path(sys.argv[0]).with_name("serverapp.py")),
                          str(runs / number), str(os.getpid())])
    if (runs / "die").exists():
        (runs / "die").unlink()
        sys.exit(3)
    time.sleep(0.05)
"""
SERVERAPP = """
# As Flower's: ends with its parent, says goodbye when told to, unless it is "deaf".
import os, signal, sys, time
from pathlib import Path
from common.paths import json_text
from common.runs.unfinished import held
from common.system.files import write_whole
folder, parent = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir()
record = {"status": "running", "started": "2026-01-02T03:04:05+00:00", "error": None,
          "progress": {"step": "score", "round": 1, "since": "2026-01-02T03:05:05+00:00"}}
def bye(number, frame):
    write_whole(folder / "run.json", json_text({**record, "status": "stopped", "error": number}))
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if folder.name == "99" else bye)
with held(folder):
    write_whole(folder / "run.json", json_text(record))
    (folder / f"pid-{os.getpid()}").touch()
    while True:
        os.kill(parent, 0)
        time.sleep(0.05)
"""


class Executor:
    """A watchman in a process of its own, and what lies in its folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        self.runs.mkdir(exist_ok=True)
        for name, text in (("superexec", SUPEREXEC), ("serverapp", SERVERAPP)):
            (folder / f"{name}.py").write_text(textwrap.dedent(text))
        self.log = folder / "log"
        command = [sys.executable, "-c", WATCHMAN, str(self.runs), str(folder / "superexec.py")]
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        wait_for("a SuperExec", self.superexecs, 30)

    def superexecs(self) -> list[int]:
        return [int(path.name[10:]) for path in self.runs.glob("superexec-*")]

    def start_run(self, number: int) -> int:
        (self.runs / f"task-{number}").touch()
        wait_for("a run", lambda: list(self.runs.glob(f"{number}/pid-*")), 30)
        (found,) = self.runs.glob(f"{number}/pid-*")
        return int(found.name[4:])

    def record(self, number: int) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.runs / f"{number}/run.json").read_text())
        return found


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    made = Executor(tmp_path)
    yield made
    end(made.process)


def gone(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return True


def test_a_superexec_that_dies_is_started_again_and_its_run_goes_on(executor: Executor) -> None:
    app, (first,) = executor.start_run(7), executor.superexecs()
    for _ in range(2):  # Twice: both ends stay unnoticed while the run lasts.
        known = len(executor.superexecs())
        (executor.runs / "die").touch()
        wait_for("the next SuperExec", lambda n=known: len(executor.superexecs()) > n, 20)
    assert not gone(app)
    assert executor.record(7)["status"] == "running"
    assert "Flower's SuperExec ended with exit code 3" in executor.log.read_text()
    assert "starting it again in 0 s" in executor.log.read_text()
    os.kill(app, signal.SIGKILL)
    wait_for("its record", lambda: executor.record(7)["status"] == "killed", 20)
    # Now that no run needs them, the dead are buried.
    wait_for("the end of the first", lambda: not Path(f"/proc/{first}").exists(), 20)
    assert "run 7: killed at step score of round 1" in executor.log.read_text()


def test_told_to_end_it_ends_all_and_no_run_is_left_without_a_word(executor: Executor) -> None:
    listening, deaf = executor.start_run(7), executor.start_run(99)
    (executor.runs / "die").touch()
    wait_for("another SuperExec", lambda: len(executor.superexecs()) == 2, 20)
    began = time.monotonic()
    executor.process.terminate()
    assert executor.process.wait(20) == 0
    assert time.monotonic() - began < 10
    assert executor.log.read_text().endswith("whole\n")
    assert all(map(gone, (listening, deaf, *executor.superexecs())))
    assert executor.record(7)["status"] == "stopped"
    assert executor.record(99)["status"] == "killed"


def test_a_watchman_killed_takes_all_along_and_the_next_one_tells_how_it_ended(
    executor: Executor, tmp_path: Path
) -> None:
    app, (superexec,) = executor.start_run(7), executor.superexecs()
    executor.process.kill()
    wait_for("the end of the rest", lambda: gone(app) and gone(superexec), 20)
    assert executor.record(7)["status"] == "running"
    again = Executor(tmp_path)
    try:
        wait_for("its record", lambda: again.record(7)["status"] == "killed", 20)
    finally:
        end(again.process)
