"""Machines gone wrong: small disks, other users, commands that are told to end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRY = (sys.executable, "-c", "from common.cli.entry import main; main()")


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A real file system in memory, as small as one likes."""
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount a small disk ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Fill a disk but for so many bytes."""
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))


def without_privilege(*arguments: object) -> tuple[int, str]:
    """Exit code and errors of the command where permissions bind it, as they bind no root."""
    words: list[str] = []
    if os.geteuid() == 0:
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if shutil.which(words[0]) is None:
            pytest.skip("root is bound by no permission, and there is no setpriv")
    done = subprocess.run(
        [*words, *ENTRY, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def start(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [*ENTRY, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
