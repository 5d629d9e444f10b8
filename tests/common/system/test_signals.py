"""Ctrl-C, SIGTERM and SIGHUP at any moment: "interrupted", exit code 130, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from machine_cases import ROOT, start

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from common.cli.entry import main
from common.runs.processes import session
from common.system.ending import finish
from common.system.files import temporary_folder

KIND = sys.argv[1]
# A grandchild in a session of its own, as Ray's: the end of the first session does not reach it.
CODE = (
    "import subprocess, time; subprocess.Popen(['sleep', '77'], start_new_session=True);"
    "time.sleep(77)"
)

def work():
    with temporary_folder("fpc-") as folder:
        environment = {**os.environ, "FLWR_HOME": str(folder)}
        with session([sys.executable, "-c", CODE], environment, folder, folder / "log"):
            (folder / "file").touch()
            print(folder, flush=True)
            if KIND == "swallowed":
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    raise ImportError("made of an interruption") from None
            time.sleep(60)

from common.cli import main as command
command.app = lambda *words, **options: work()
main()
"""


def hold(kind: str, temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, kind],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def living(mark: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"FLWR_HOME={mark}".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", SIGNALS)
def test_folders_and_processes_go_with_the_command(tmp_path: Path, number: int) -> None:
    process, folder = hold("plain", tmp_path)
    until = time.monotonic() + 20
    while len(living(folder)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(living(folder)) == 2
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "fedpatchcore: interrupted\n")
    assert list(tmp_path.iterdir()) == []
    assert living(folder) == []


def test_an_interruption_of_which_a_library_makes_an_error(tmp_path: Path) -> None:
    process, _ = hold("swallowed", tmp_path)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "fedpatchcore: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("wait", [0.05, 0.4, 1.2])
def test_the_first_second_is_the_imports(tmp_path: Path, number: int, wait: float) -> None:
    """Ctrl-C within the first second printed a traceback or "internal error"."""
    code = "import common.cli.entry as e, os; os.write(1, b'begun\\n'); e.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "inspect", str(tmp_path), str(tmp_path), "--out", "out"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(wait)
    process.send_signal(number)  # to one that has ended already it does nothing
    _, said = process.communicate(timeout=30)
    if process.returncode != 2:  # it had found that there is no image, and was about to say so
        assert (process.returncode, said) == (130, b"fedpatchcore: interrupted\n")


def test_what_nohup_ignores_stays_ignored() -> None:
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "import common.cli.entry, os; os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_windows_is_told_in_one_line() -> None:
    """No `fcntl` on Windows was a traceback."""
    code = (
        "import sys; sys.modules['fcntl'] = None; sys.platform = 'win32'\n"
        "from common.cli.entry import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "WSL 2" in done.stderr


def test_macos_has_no_affinity() -> None:
    """`os.sched_getaffinity` is not on macOS."""
    code = (
        "import os; del os.sched_getaffinity\n"
        "from common.runs.simulation import _federation; print(_federation(2, 'cpu'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("num-supernodes=2 client-resources-num-cpus="), done.stderr


def test_the_version_ends_well() -> None:
    process = start("--version")
    out, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert out.startswith(b"fedpatchcore ")
