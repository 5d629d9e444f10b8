"""What is printed never costs the work it tells about."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from machine_cases import ROOT

TALK = """
import sys, pathlib
from common.system.streams import prepare_streams, output_failure
from common.errors import explained
prepare_streams()
for number in range(20000):
    print(number, "h\\u00f6he \\u4e2d \\udcff")
sys.stdout.flush()
pathlib.Path(sys.argv[1]).write_text("done")
failure = output_failure()
if failure:
    sys.exit(explained(failure))
"""


def talk(done: Path, shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = done.with_suffix(".py")
    script.write_text(TALK)
    words = f"set -o pipefail; {sys.executable} {script} {done} {shell}"
    return subprocess.run(
        ["bash", "-c", words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_that_has_gone(tmp_path: Path) -> None:
    """`inspect | head -1` lost both files of results."""
    done = talk(tmp_path / "done", "| head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").read_text() == "done"


def test_a_full_disk_below_the_output_is_told_at_the_end(tmp_path: Path) -> None:
    done = talk(tmp_path / "done", "> /dev/full")
    assert (tmp_path / "done").read_text() == "done"
    assert done.returncode == 1
    assert done.stderr.startswith("standard output: the disk is full")


def test_an_ascii_terminal(tmp_path: Path) -> None:
    """An ASCII terminal stopped a run."""
    done = talk(tmp_path / "done", "", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "0 h\\xf6he \\u4e2d \\udcff"
