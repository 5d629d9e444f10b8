"""Rows that a station has chosen, by what they were chosen from: found by a run begun again.

A run that ended early has cost its stations their work: features stand in the cache, and here
stand the rows. Whoever asks for the same rows of the same images is given them, whatever the
number of the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client_app.run_folder import STALE_SECONDS, load_arrays, save_arrays
from common.errors import RunError

SETS_KEPT: Final = 2
"""A round of a run is a set: the last of each of two runs, or two rounds of one."""

Arrays = dict[str, NDArray[Any]]


class KeptRows:
    """The last sets of rows of one station, for seven days at most.

    Parameters
    ----------
    cache : Path
        The station's private cache.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "rows"

    def get(self, key: str) -> Arrays | None:
        """Return a set; None if it is not there, or damaged."""
        path = self._folder / f"{key}.npz"
        try:
            found = load_arrays(path)
        except Exception:  # a damaged archive raises whatever zip, zlib and numpy raise
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return found

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep a set, and drop the oldest; on a full disk it is simply not kept."""
        with contextlib.suppress(OSError, RunError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            now = time.time()
            young = []
            for path in self._folder.iterdir():
                changed = path.stat().st_mtime
                if path.suffix != ".npz" or now - changed > STALE_SECONDS:
                    path.unlink(missing_ok=True)
                else:
                    young.append((changed, path))
            for _, path in sorted(young, reverse=True)[SETS_KEPT - 1 :]:
                path.unlink(missing_ok=True)
            save_arrays(self._folder / f"{key}.npz", arrays)


def key_of(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Name of a set: everything that its rows depend on.

    Parameters
    ----------
    facts : mapping
        JSON: settings, budgets, feature space, contents of the images.
    arrays : mapping
        Rows that were chosen elsewhere before.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
