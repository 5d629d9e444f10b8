"""A run that has not ended is known by its lock; one that was killed is told by who finds it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import wait_for

from common.errors import RunError
from common.runs import unfinished

RUNNING: dict[str, Any] = {
    "status": "running",
    "error": None,
    "started": "2026-01-02T03:04:05+00:00",
    "finished": None,
    "flower_run_id": "12",
    "progress": {
        "step": "build banks",
        "round": 2,
        "since": "2026-01-02T03:05:05.123+00:00",
        "updated": "2026-01-02T03:06:05.123+00:00",
        "stations": [],
    },
}
HOLDER = """
import sys, time
from pathlib import Path
from common.runs.unfinished import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({**RUNNING, **changes}))
    return folder


def test_a_run_whose_process_was_killed_is_told_and_one_that_works_is_not(tmp_path: Path) -> None:
    folder = written(tmp_path / "12")
    left = [tmp_path / "12.77.partial", folder / ".77.1.partial"]
    left[0].mkdir()
    left[1].touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert unfinished.is_held(folder)
        assert unfinished.settle(folder) == RUNNING
        assert unfinished.settle_all(tmp_path) == {}
        assert all(path.exists() for path in left)
        holder.send_signal(signal.SIGKILL)
    wait_for("the end of the lock", lambda: not unfinished.is_held(folder), 20)
    known = set[str]()
    (run_id, record), *more = unfinished.settle_all(tmp_path, known).items()
    assert (run_id, more, known) == ("12", [], {"12"})
    assert record["status"] == "killed"
    assert record["error"] == (
        "killed at step build banks of round 2 (since 2026-01-02 03:05:05 UTC): the server's "
        "process of this run ended without a word, last heard of at 2026-01-02 03:06:05 UTC. Lost "
        "is nothing but time: the stations keep the features and rows that they had finished; "
        "`fedpatchcore plant run --resume 12` starts from there"
    )
    assert record["finished"] is not None
    assert {k: v for k, v in record.items() if k not in ("status", "error", "finished")} == {
        k: v for k, v in RUNNING.items() if k not in ("status", "error", "finished")
    }
    assert json.loads((folder / "run.json").read_text()) == record
    assert not any(path.exists() for path in left)
    assert unfinished.settle_all(tmp_path) == {}


@pytest.mark.parametrize("status", ["completed", "failed", "stopped", "killed"])
def test_a_finished_record_is_never_touched(tmp_path: Path, status: str) -> None:
    folder = written(tmp_path / "12", status=status)
    before = (folder / "run.json").stat()
    assert unfinished.settle(folder) == {**RUNNING, "status": status}
    after = (folder / "run.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_two_processes_do_not_work_on_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "_PATIENCE_SECONDS", 0.2)
    busy = pytest.raises(RunError, match="another process works on this run")
    with unfinished.held(tmp_path), busy, unfinished.held(tmp_path):
        pass
    with unfinished.held(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_what_is_no_record_is_none(tmp_path: Path, content: str) -> None:
    assert unfinished.settle(tmp_path / "nothing") is None
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "run.json").write_text(content)
    assert unfinished.settle(tmp_path / "12") is None
    assert unfinished.settle_all(tmp_path) == {}


def test_a_record_without_progress_is_told_all_the_same(tmp_path: Path) -> None:
    folder = written(tmp_path / "12", progress=None, started="yesterday")
    record = unfinished.settle(folder)
    assert record is not None
    assert record["error"].startswith("killed at step start (since yesterday): ")


def test_an_end_that_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, known = written(tmp_path / "12"), set[str]()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(unfinished, "write_whole", full)
        assert unfinished.settle_all(tmp_path, known) == {}
        told = unfinished.settle(folder)
        assert told is not None
        assert told["status"] == "killed"  # told, at least
    assert known == set()
    assert list(unfinished.settle_all(tmp_path, known)) == ["12"]
    assert known == {"12"}
