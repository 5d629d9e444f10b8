"""A station that hangs ends itself, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from client_app.deadline import EXIT_CODE, Deadline


def run(body: str) -> tuple[int, str, float]:
    code = "import time\nfrom client_app.deadline import Deadline\n" + body
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, time.monotonic() - started


def test_a_hanging_process_ends_at_its_deadline() -> None:
    code, printed, seconds = run(
        "with Deadline(0.3):\n    print('in', flush=True)\n    time.sleep(25)\nprint('out')"
    )
    assert code == EXIT_CODE
    assert printed == "in\n"
    assert seconds < 15


def test_work_that_is_done_in_time_goes_on() -> None:
    code, printed, _ = run("with Deadline(0.3):\n    pass\ntime.sleep(0.6)\nprint('out')")
    assert (code, printed) == (0, "out\n")


def test_no_limit_and_errors_pass_through() -> None:
    with Deadline(None):
        pass
    with pytest.raises(ValueError, match="mine"), Deadline(60):
        raise ValueError("mine")


def test_native_code_that_holds_pythons_lock_ends_as_well() -> None:
    # PyDLL keeps the lock while it sleeps: no thread of Python gets a turn.
    code, printed, seconds = run(
        "import client_app.deadline as module, ctypes\n"
        "module._LAST_RESORT_SECONDS = 0.5\n"
        "with Deadline(0.5):\n"
        "    print('in', flush=True)\n"
        "    ctypes.PyDLL(None).sleep(25)\n"
        "print('out')"
    )
    assert code not in (0, None)
    assert printed == "in\n"
    assert seconds < 15


def test_a_library_that_cannot_be_loaded_does_not_block_the_station(tmp_path: Path) -> None:
    """As on a network drive that is gone: the import of PyTorch never returns."""
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(25)\n")
    code, _, seconds = run(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "import client_app.deadline as module\nmodule.IMPORT_SECONDS = 1.0\n"
        "import client_app.app"
    )
    assert code == EXIT_CODE
    assert seconds < 20
