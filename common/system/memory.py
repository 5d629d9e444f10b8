"""How much memory a process may still take, by the machine and by its control group."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MACHINE: Final = Path("/proc/meminfo")
_GROUPS: Final = Path("/proc/self/cgroup")
_CONTROL: Final = Path("/sys/fs/cgroup")


def available_bytes() -> int | None:
    """Memory that can be had without swapping; None where the system does not tell.

    Notes
    -----
    The least of what the machine has left and of what each control group above this process has
    left (version 2, as in a container): pages of files, which the kernel gives back, count as free
    in both.
    """
    found = [one for one in (_of_machine(), *_of_groups()) if one is not None]
    return max(0, min(found)) if found else None


def used_bytes() -> int:
    """Memory that this process has in use; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _of_machine() -> int | None:
    try:
        for line in _MACHINE.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def _of_groups() -> list[int | None]:
    try:
        lines = _GROUPS.read_text().splitlines()
    except OSError:
        return []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    folder, found = _CONTROL / own.lstrip("/"), []
    while folder == _CONTROL or _CONTROL in folder.parents:
        found.append(_of_group(folder))
        folder = folder.parent
    return found


def _of_group(folder: Path) -> int | None:
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return limit - used + int(facts.get("inactive_file", 0))
    except (OSError, ValueError):  # no limit is the word "max"
        return None
