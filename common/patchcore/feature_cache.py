"""Patch features on disk, by content: image bytes and feature space."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

_KEEP_FREE_BYTES = 2 * 2**30


class FeatureCache:
    """A folder of feature files that is bounded in size.

    Parameters
    ----------
    folder : Path
        Private to one user: patch features are not anonymous. Created with mode 700.
    limit_bytes : int
        At most this much is kept. The least recently used entries go first; entries that this
        process has used stay as long as there is another to go.

    Notes
    -----
    Files are written under a temporary name and renamed, so a killed process leaves no half
    entry. When the limit or the disk (2 GiB are always left free) does not allow an entry it is
    simply not kept: results never depend on the cache.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._size = sum(path.stat().st_size for path in self._files())

    def key(self, content: str, fingerprint: str, dtype: DTypeLike) -> str:
        """Name of an entry: feature space, number format, image content."""
        return f"{fingerprint[:16]}-{np.dtype(dtype).name}/{content}"

    def has(self, key: str) -> bool:
        """Whether an entry is there."""
        return self._path(key).is_file()

    def get(self, key: str) -> NDArray[np.floating] | None:
        """Return an entry, mapped into memory, or None."""
        path = self._path(key)
        try:
            features: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
            os.utime(path)
        except (OSError, ValueError, EOFError):
            return None
        self._used.add(key)
        return features

    def put(self, key: str, features: NDArray[np.floating]) -> None:
        """Keep an entry if the limits allow it."""
        with self._lock:
            if not self._make_room(features.nbytes):
                return
            path = self._path(key)
            partial = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.partial")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("wb") as file:
                    np.save(file, features, allow_pickle=False)
                partial.replace(path)
            except OSError:
                # A full disk costs time later, never the run now.
                partial.unlink(missing_ok=True)
                return
            self._used.add(key)
            self._size += path.stat().st_size

    def _make_room(self, needed: int) -> bool:
        def fits() -> bool:
            free = shutil.disk_usage(self.folder).free - needed
            return self._size + needed <= self.limit_bytes and free >= _KEEP_FREE_BYTES

        if fits():
            return True
        stale = [path for path in self._files() if self._key_of(path) not in self._used]
        for path in sorted(stale, key=lambda path: path.stat().st_mtime):
            with contextlib.suppress(FileNotFoundError):
                size = path.stat().st_size
                path.unlink()
                self._size -= size
            if fits():
                return True
        return False

    def _files(self) -> list[Path]:
        return list(self.folder.glob("*/*.npy"))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npy"

    def _key_of(self, path: Path) -> str:
        return f"{path.parent.name}/{path.stem}"
