"""Patch features on disk, by content: image bytes, feature space and what computed them.

Beside the features stand views of them (as their projection), in folders of their own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

KEEP_FREE_BYTES = 2 * 2**30
UNLIMITED_BYTES = 2**50  # of a temporary cache: the disk is its limit
_ABANDONED_SECONDS = 3600.0
_IN_USE_SECONDS = 24 * 3600.0
_SPARE = ".spare.npy"
_HEADER_BYTES = 128  # of a small .npy file
_TRAILER = struct.Struct("<8sI")  # behind the array: a mark and the CRC-32 of all before it
_MARK = b"fpccrc32"


class FeatureCache:
    """A folder of feature files that is bounded in size.

    Parameters
    ----------
    folder : Path
        Private to one user: patch features are not anonymous. Created with mode 700.
    limit_bytes : int
        About this much is kept. The least recently used entries go first; those that this process
        has used stay. Spare entries (of images that a run looks at once, as test images) go before
        all others, and never drive out what was used within a day.

    Attributes
    ----------
    skipped : int
        Entries that this process could not keep.

    Notes
    -----
    Files are written under a temporary name and renamed, so a killed process leaves no half
    entry; its temporary file is removed by a later one. Each file ends with a checksum, which is
    looked at when a process reads it for the first time: a damaged entry is computed anew. When
    the limit or the disk (2 GiB are always left free) does not allow an entry it is simply not
    kept: results never depend on the cache.

    Several processes may share a folder. Each counts what it finds when it begins and when its
    own count reaches the limit, so together they exceed it by what they wrote in between.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._whole: set[str] = set()
        self.skipped = 0
        for path, _, changed in _listed(folder.glob("*/*.partial")):
            if time.time() - changed > _ABANDONED_SECONDS:
                _removed(path)
        self._size = self._count()

    def key(self, content: str, fingerprint: str, producer: str, dtype: DTypeLike) -> str:
        """Name of an entry: feature space, what computed it, number format, image content."""
        return f"{fingerprint[:16]}-{producer}-{np.dtype(dtype).name}/{content}"

    def has(self, key: str) -> bool:
        """Whether an entry is there."""
        return any(path.is_file() for path in self._paths(key))

    def get(self, key: str) -> NDArray[np.floating] | None:
        """Return an entry, mapped into memory; None if it is not there or damaged."""
        path = next((path for path in self._paths(key) if path.is_file()), None)
        # First of all: numpy would trust the header of a damaged file.
        if path is None or (key not in self._whole and not _is_whole(path)):
            return None
        try:
            features: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError, TypeError, struct.error):
            return None
        if features.ndim != 3 or features.dtype.name not in key:
            return None
        self._whole.add(key)
        self.use(key)
        return features

    def use(self, key: str) -> None:
        """Make an entry young, if it is there: it is needed soon, or a view of it was."""
        for path in self._paths(key):
            with contextlib.suppress(OSError):
                os.utime(path)
        self._used.add(key)

    def put(self, key: str, features: NDArray[np.floating], *, spare: bool = False) -> None:
        """Keep an entry if the limits allow it; a spare one only in room that nobody needs."""
        path = self._paths(key)[spare]
        partial = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.partial")
        with self._lock:
            self._whole.discard(key)
            try:
                if not self._make_room(features.nbytes + _HEADER_BYTES + _TRAILER.size, spare):
                    self.skipped += 1
                    return
                path.parent.mkdir(parents=True, exist_ok=True)
                replaced = path.stat().st_size if path.exists() else 0
                with partial.open("wb") as file:
                    summed = _Summed(file)
                    np.save(summed, features, allow_pickle=False)
                    file.write(_TRAILER.pack(_MARK, summed.checksum))
                partial.replace(path)
                self._size += path.stat().st_size - replaced
            except OSError:
                # A full disk, or a folder that is lost or another user's, costs time later, never
                # the run now.
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                self.skipped += 1
                return
            self._used.add(key)

    def _make_room(self, needed: int, spare: bool) -> bool:
        def fits() -> bool:
            free = shutil.disk_usage(self.folder).free - needed
            return self._size + needed <= self.limit_bytes and free >= KEEP_FREE_BYTES

        if fits():
            return True
        if needed > self.limit_bytes:
            return False
        self._size = self._count()
        stale = [
            (not path.name.endswith(_SPARE), changed, path, size)
            for path, size, changed in self._entries()
            if self._key_of(path) not in self._used
        ]
        for keep, changed, path, size in sorted(stale):
            if spare and keep and time.time() - changed < _IN_USE_SECONDS:
                continue
            if fits():
                break
            if _removed(path):
                self._size -= size
        return fits()

    def _count(self) -> int:
        return sum(size for _, size, _ in self._entries())

    def _entries(self) -> list[tuple[Path, int, float]]:
        return _listed(self.folder.glob("*/*.npy"))

    def _paths(self, key: str) -> tuple[Path, Path]:
        """Where an entry is, and where it is if it is a spare one."""
        return self.folder / f"{key}.npy", self.folder / f"{key}{_SPARE}"

    def _key_of(self, path: Path) -> str:
        return f"{path.parent.name}/{path.name.removesuffix(_SPARE).removesuffix('.npy')}"


class _Summed:
    """A file that is written, with the checksum of what has been written so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.checksum = 0

    def write(self, data: bytes) -> int:
        self.checksum = zlib.crc32(data, self.checksum)
        return self._file.write(data)


def _is_whole(path: Path) -> bool:
    """Whether an entry is bit for bit what was written."""
    try:
        content = np.memmap(path, np.uint8, "r")
        mark, checksum = _TRAILER.unpack(content[-_TRAILER.size :].tobytes())
    except (OSError, ValueError, struct.error):
        return False
    return bool(mark == _MARK and checksum == zlib.crc32(content[: -_TRAILER.size].data))


def _removed(path: Path) -> bool:
    """Remove an entry; one of another user's stays, and is counted."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _listed(paths: Iterable[Path]) -> list[tuple[Path, int, float]]:
    """Path, bytes and time of last use, without what was just removed or may not be looked at."""
    listed = []
    for path in paths:
        with contextlib.suppress(OSError):
            facts = path.stat()
            listed.append((path, facts.st_size, facts.st_mtime))
    return listed
