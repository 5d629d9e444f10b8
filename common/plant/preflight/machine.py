"""Preflight of the machine: room for features on its disk, and memory for the work."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.check.findings import Kind
from common.config import Settings
from common.patchcore.network.feature_cache import KEEP_FREE_BYTES
from common.patchcore.row_format import row_dtype
from common.plant.preflight.data import Load
from common.plant.preflight.findings import Preflight, gigabytes
from common.plant.station.station_file import StationFile

PROCESS_BYTES: Final = int(1.5 * 2**30)
"""SuperNode and the process that it starts for a message, with torch and the network: 1.2 GiB
measured for the latter on CPU."""
BYTES_PER_PIXEL: Final = 800
"""What one image takes on its way through the network: 600 to 770 measured (WideResNet-50-2)."""
_BANK_COPIES: Final = 4

_CACHE: Final = Kind(
    "cache-dir",
    "error",
    "the station keeps there what must outlive a message; without it every run fails",
    "give the station's user a folder of its own, or mend cache-dir in the station file",
)
_FULL: Final = Kind(
    "disk-full",
    "error",
    "not even what a run keeps between two messages fits",
    "free some space, or mend cache-dir in the station file",
)
_FEW_FIT: Final = Kind(
    "features-do-not-fit",
    "warning",
    "features that are not kept are computed again for every exchange and every run",
    "free some space, or mend cache-dir in the station file",
)
_LIMIT: Final = Kind(
    _FEW_FIT.name, "warning", _FEW_FIT.why, "raise cache-limit-gb in the station file"
)
_MEMORY: Final = Kind(
    "memory",
    "warning",
    "a process that asks for more is killed, and the run goes on without this station",
    "give the machine or the container more memory, or hold fewer or smaller images; "
    "num-workers=1 (a setting of the run) takes the least",
)


def check_cache(file: StationFile, report: Preflight) -> Path | None:
    """The cache folder; it is not made here, for its owner shall be the station's user.

    Returns
    -------
    Path or None
        The folder, or the nearest one above it that is there; None if it cannot be written.
    """
    places = (file.cache_dir, *file.cache_dir.parents)
    there = next(place for place in places if os.path.lexists(place))
    if not there.is_dir():
        report.add(_CACHE, file.cache_dir, f"{there} is no folder")
    elif not os.access(there, os.W_OK | os.X_OK):
        report.add(_CACHE, file.cache_dir, f"user {os.geteuid()} may not write in {there}")
    else:
        return there
    return None


def check_disk(
    file: StationFile, settings: Settings, load: Load, there: Path, report: Preflight
) -> None:
    """Room for the features of all images, which is what a repeated run saves its time by.

    Parameters
    ----------
    file : StationFile
    settings : Settings
        The run's.
    load : Load
    there : Path
        From `check_cache`.
    report : Preflight
    """
    per_patch = load.dim * row_dtype(settings.wire_dtype).itemsize
    needed = needed_disk(settings, load)
    # What a run keeps between messages: the station's rows, and the bank that came in parts.
    scratch = 2 * settings.global_bank_size * per_patch
    free = shutil.disk_usage(there).free
    room, limit = free - KEEP_FREE_BYTES, int(file.cache_limit_gb * 2**30)
    report.facts["disk"] = (
        f"{gigabytes(free)} free in {there}; features of all {load.images} images take "
        f"{gigabytes(needed)}, cache-limit-gb is {file.cache_limit_gb:g}"
    )
    if free < scratch:
        found = f"{gigabytes(free)} free in {there}, a run keeps up to {gigabytes(scratch)}"
        report.add(_FULL, file.cache_dir, found)
    elif room < needed and room < limit:
        fit = max(0, load.images * room // needed)
        report.add(
            _FEW_FIT,
            file.cache_dir,
            f"{gigabytes(free)} free, of which {gigabytes(KEEP_FREE_BYTES)} stay free; features "
            f"take {gigabytes(needed)}: those of about {fit} of {load.images} images fit",
        )
    elif limit < needed:
        fit = load.images * limit // needed
        report.add(
            _LIMIT,
            file.path,
            f"cache-limit-gb is {file.cache_limit_gb:g}, features take {gigabytes(needed)}: "
            f"those of about {fit} of {load.images} images are kept",
            f"set cache-limit-gb to {math.ceil(needed / 2**30)} or more in the station file",
        )


def needed_disk(settings: Settings, load: Load) -> int:
    """Bytes that the features of all images take.

    Of training images in the run's number format, with the projection from which rows are chosen;
    of the others, which are scored, in float32.
    """
    width = min(settings.coreset_projection or load.dim, load.dim)
    projected = 4 * width if width < load.dim else 0
    training = load.dim * row_dtype(settings.wire_dtype).itemsize + projected
    scored = load.patches - load.training_patches
    return load.training_patches * training + scored * 4 * load.dim


def check_memory(
    file: StationFile,
    settings: Settings,
    load: Load,
    report: Preflight,
    proc: Path = Path("/proc"),
    cgroups: Path = Path("/sys/fs/cgroup"),
) -> None:
    """Memory for the largest step of a run, against what this machine or container allows."""
    needed = needed_memory(settings, load)
    room, source = available_memory(proc, cgroups)
    if room is None:
        report.facts["memory"] = f"about {gigabytes(needed)} needed; what there is is not known"
        return
    report.facts["memory"] = f"about {gigabytes(needed)} needed, {gigabytes(room)} by {source}"
    if room < needed:
        found = f"{gigabytes(room)} by {source}; about {gigabytes(needed)} needed"
        report.add(_MEMORY, file.path, found)


def needed_memory(settings: Settings, load: Load) -> int:
    """Estimate the peak of a station's processes in a run, in bytes.

    Notes
    -----
    The processes themselves, the images on their way through the network, the projected patches
    from which the coreset is chosen, and the global bank with its search.
    """
    workers = max(1, min(settings.num_workers, os.cpu_count() or 1))
    width = min(settings.coreset_projection or load.dim, load.dim)
    return (
        PROCESS_BYTES
        + workers * BYTES_PER_PIXEL * load.largest
        + load.training_patches * (4 * width + 64)
        + _BANK_COPIES * 4 * load.dim * settings.global_bank_size
    )


def available_memory(
    proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> tuple[int | None, str]:
    """Find out how much memory this process and its children may use.

    Returns
    -------
    (bytes or None, source)
        The least of the control groups' limits (version 1 or 2) and the memory that the machine
        has available; None where neither is told.
    """
    found = [(limit, f"the limit in {path}") for limit, path in _group_limits(proc, cgroups)]
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        facts = {line.split(":")[0]: line.split()[1] for line in lines if ":" in line}
        found.append((int(facts["MemAvailable"]) * 1024, "the memory that is available now"))
    except (OSError, KeyError, ValueError, IndexError):
        pass
    return min(found) if found else (None, "")


def _group_limits(proc: Path, cgroups: Path) -> Iterator[tuple[int, Path]]:
    """Limits of this process's control group and of all above it."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers == "":
            base, limit_file = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            base, limit_file = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        inner = base / name.lstrip("/")
        # In a container the name may be the host's, of which only the top is to be seen.
        for folder in (inner, *inner.parents):
            if not folder.is_relative_to(base):
                break
            try:
                text = (folder / limit_file).read_text(encoding="ascii").strip()
            except OSError:
                continue
            # Version 1 writes "no limit" as the largest number of pages.
            if text.isdigit() and int(text) < 1 << 60:
                yield int(text), folder / limit_file
