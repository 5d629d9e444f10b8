"""What our executor starts: the server's part of runs, by our program, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult, LaunchResultStatus

from common.plant.app.programs import EXECUTOR, SERVERAPP, SUPERLINK, SUPERNODE, own_program
from common.plant.server.executor_program import ServerApps

TELL = "import json, sys; open(sys.argv[1], 'w').write(json.dumps(sys.argv[2:]))"


def a_task(kind: TaskType, **changes: object) -> ExecutionSpec:
    facts = {
        "task_type": kind,
        "runtime_api_address": "superlink:8000",
        "token": "a-token",
        "insecure": False,
        "root_certificates_path": "/keys/ca.crt",
        "runtime_dependency_install": True,
        "parent_pid": 77,
        "suppress_output": True,
        "task_id": 5,
    }
    return ExecutionSpec(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_serverapp_gets_what_flowers_own_would(tmp_path: Path) -> None:
    told = tmp_path / "told"
    starter = ServerApps((sys.executable, "-c", TELL, str(told)), LaunchResult)
    result = starter.launch(a_task(TaskType.SERVER_APP))
    assert result.status == LaunchResultStatus.ACCEPTED
    starter._running[0].wait(60)
    # Whatever the run asks for, no package is installed for it.
    assert json.loads(told.read_text()) == [
        "--runtime-api-address=superlink:8000",
        "--root-certificates=/keys/ca.crt",
        "--token=a-token",
        "--parent-pid=77",
    ]
    starter.reconcile()
    assert starter._running == []


@pytest.mark.parametrize("kind", sorted(set(TaskType) - {TaskType.SERVER_APP}))
def test_nothing_else_is_started(
    kind: TaskType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Agents and simulations would unpack and import the app by themselves."""
    starter = ServerApps((sys.executable, "-c", TELL, str(tmp_path / "told")), LaunchResult)
    # It is taken, or it would wait for ever; and then it fails.
    assert kind in starter.get_eligible_capacity(set(TaskType), insecure=False)[0]
    result = starter.launch(a_task(kind))
    assert result.status == LaunchResultStatus.FAILED
    assert f"{kind} is not run here" in str(result.message)
    assert starter._running == []
    assert f"task 5 is refused: {kind}" in caplog.text


@pytest.mark.parametrize("program", [SUPERNODE, EXECUTOR, SERVERAPP, SUPERLINK], ids=lambda p: p[1])
def test_each_program_is_flowers_with_our_option(program: tuple[str, str], tmp_path: Path) -> None:
    """In a folder that holds a module of ours: nothing is imported from there."""
    (tmp_path / "common.py").write_text("raise OSError('from the working folder')")
    done = subprocess.run(
        [*own_program(program, None if program == SUPERLINK else "any"), "--help"],
        cwd=tmp_path,
        env={"FLWR_HOME": str(tmp_path), "FLWR_DISABLE_UPDATE_CHECK": "1", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: {program[1]}" in done.stdout
    assert list(tmp_path.glob("process-*")) == []


def test_without_a_trusted_app_no_program_starts(tmp_path: Path) -> None:
    words = [w for w in own_program(SUPERNODE, "any") if not w.startswith("--trusted-app")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("fedpatchcore: trusted-app: no app at all")


def test_what_ends_a_program_in_its_midst_is_one_line_and_ends_it() -> None:
    """Flower's threads would keep the process, in which nobody works any more."""
    code = """
import threading, time
from common.errors import RunError
from common.plant.app.programs import become
def program():
    threading.Thread(target=time.sleep, args=(600,)).start()
    raise RunError("an app cannot be removed")
become(lambda: program)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "fedpatchcore: an app cannot be removed\n")
