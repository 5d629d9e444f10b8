"""Unpacking a category's zip: only into its own folder, and no more than it may hold.

What is unpacked was verified before, so that none of this happens with the published files; a
mirror of somebody's own archives is no reason to trust names in them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from common.data.fetch.trouble import StoppedError
from common.data.fetch.verify import BLOCK
from common.data.leftovers import is_leftover
from common.errors import RunError
from common.system.files import naming

MOST_ENTRIES: Final = 100_000
_SPLITS: Final = frozenset({"train", "test"})
_ENCRYPTED: Final = 0x1
_KNOWN_PACKING: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_DO: Final = "remove it and fetch it again, or try another source"

Placed = dict[PurePosixPath, zipfile.ZipInfo]


def unpack(
    archive: Path,
    into: Path,
    most_bytes: int,
    progress: Callable[[int, int | None], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Unpack the one category of a zip.

    Parameters
    ----------
    archive : Path
    into : Path
        New folder, in which `train/`, `test/` and all beside them will lie, however deeply the zip
        nests them. What systems leave in zips by themselves stays out.
    most_bytes : int
        All files together may not be larger.
    progress : callable (bytes written, bytes in all), optional
    stop : Event, optional
        Set by another thread that wants this one to end.

    Raises
    ------
    RunError
        If it is no whole zip, holds other than one category, a name that leads elsewhere, a link,
        a name twice, or more than `most_bytes`. Some files may have been written then.
    OSError
        If the system refuses to write.

    Notes
    -----
    Every file is on the disk, not only on its way there, when this returns. Memory: some MiB.
    """
    with _readable(archive), naming(archive), zipfile.ZipFile(archive) as packed:
        placed = _places(archive, packed.infolist())
        total = sum(info.file_size for info in placed.values())
        if total > most_bytes:
            found = f"would unpack to {total:,} bytes, more than the {most_bytes:,} it may hold"
            raise RunError(f"{archive}: {found}; {_DO}")
        into.mkdir()
        done = 0
        for place, info in placed.items():
            target = into / place
            target.parent.mkdir(parents=True, exist_ok=True)
            for written in _write(packed, info, target):
                if stop is not None and stop.is_set():
                    raise StoppedError
                done += written
                if done > total:
                    raise RunError(f"{archive}: {place} is longer than it says; {_DO}")
                if progress is not None:
                    progress(done, total)


def _places(archive: Path, entries: list[zipfile.ZipInfo]) -> Placed:
    """Where each file goes, below the category's folder; refuses what no such zip holds."""
    if len(entries) > MOST_ENTRIES:
        raise RunError(f"{archive}: {len(entries):,} entries, more than {MOST_ENTRIES:,}; {_DO}")
    files: Placed = {}
    for info in entries:
        if fault := _fault(info):
            raise RunError(f"{archive}: the entry {info.orig_filename!a} {fault}; {_DO}")
        path = _path(info)
        if not info.is_dir() and not any(map(is_leftover, path.parts)):
            if path in files:
                raise RunError(f"{archive}: the entry {info.filename!a} is there twice; {_DO}")
            files[path] = info
    found_at = {PurePosixPath(*path.parts[:depth]) for path in files for depth in _depth(path)}
    least = min((len(home.parts) for home in found_at), default=0)
    homes = {home for home in found_at if len(home.parts) == least}
    if len(homes) != 1:
        named = ", ".join(sorted(map(str, homes))) or "none"
        found = f"expected one folder with train/ or test/ in it, found {named}"
        raise RunError(f"{archive}: {found}; {_DO}")
    home = homes.pop()
    placed: Placed = {}
    for path, info in files.items():
        # A licence or a word to the reader may lie beside the category; it comes along.
        place = path.relative_to(home) if path.is_relative_to(home) else PurePosixPath(path.name)
        if placed.setdefault(place, info) is not info:
            raise RunError(f"{archive}: the entry {info.filename!a} is there twice; {_DO}")
    _no_file_as_folder(archive, placed)
    return placed


def _depth(path: PurePosixPath) -> Iterator[int]:
    """How deep the category's folder lies, told by a file in its train/ or test/."""
    for depth, part in enumerate(path.parts[:-1]):
        if part.lower() in _SPLITS:
            yield depth
            return


def _path(info: zipfile.ZipInfo) -> PurePosixPath:
    """Path of an entry; some programs write Windows' separators."""
    return PurePosixPath(info.orig_filename.replace("\\", "/"))


def _fault(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with the name or kind of an entry."""
    path = _path(info)
    if not path.parts or "\0" in info.orig_filename:
        return "has no usable name"
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "has a name that leads out of the folder"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in _KNOWN_PACKING:
        return f"is packed in a way that is not read here ({info.compress_type})"
    return None


def _no_file_as_folder(archive: Path, placed: Placed) -> None:
    """Refuse names that are one name where large and small letters are not told apart."""
    seen: dict[str, PurePosixPath] = {}
    for place in placed:
        other = seen.setdefault(str(place).casefold(), place)
        if other != place:
            raise RunError(f"{archive}: {other} and {place} are one name on some disks; {_DO}")
    for place in placed:
        if any(str(parent).casefold() in seen for parent in place.parents):
            raise RunError(f"{archive}: {place} lies in what is a file; {_DO}")


def _write(packed: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> Iterator[int]:
    """Write one file in blocks; never over another, never through a link."""
    with naming(target), packed.open(info) as source, target.open("xb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            yield len(block)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Say that a zip is damaged, in whichever way that shows."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise RunError(f"{archive}: not a whole zip ({error}); {_DO}") from error
