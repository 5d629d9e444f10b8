"""Folders on this machine that are not given by the user, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

RUNS_VARIABLE: Final = "FEDPATCHCORE_RUNS"
"""Names the server's folder of runs on a real plant; else `DEFAULT_RUNS`."""
DEFAULT_RUNS: Final = "~/.fedpatchcore/runs"
STATIONS_VARIABLE: Final = "FEDPATCHCORE_STATIONS"
"""Names the server's folder of the stations' keys."""
DEFAULT_CACHE_GB: Final = 20.0
"""GiB that a station's cache may grow to, where its file or node config says nothing else."""


def cache_root() -> Path:
    """Private cache of this user: `$FEDPATCHCORE_CACHE`, else `fedpatchcore` in the XDG cache."""
    chosen = os.environ.get("FEDPATCHCORE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fedpatchcore"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
