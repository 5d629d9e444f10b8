"""What one station keeps on its disk between the messages of one run."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import RunError
from common.paths import locked

_STALE_SECONDS: Final = 7 * 24 * 3600


class RunFolder:
    """What one station keeps on disk between the messages of one run.

    Every message is a new process on a station, and in a simulation two may run at once: files
    are renamed into place when whole, and work on them is done under a lock.

    Parameters
    ----------
    cache : Path
        The station's private cache.
    station : str
        Its name.
    run_id : int
        Flower's.
    """

    def __init__(self, cache: Path, station: str, run_id: int) -> None:
        runs = cache / "runs"
        self.folder = runs / f"{run_id}-{station}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _not_writable(self.folder, error) from error
        for old in runs.iterdir():
            # Another station of a simulation may be removing its own folder at this moment.
            with contextlib.suppress(FileNotFoundError):
                if old != self.folder and time.time() - old.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one message at a time."""
        with locked(self.folder / "lock"):
            yield

    def save(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep named arrays, whole or not at all.

        Raises
        ------
        RunError
            If the disk is full or the folder may not be written; nothing half is left then.
        """
        partial = self.folder / f"{name}.{os.getpid()}.partial"
        try:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **{f"a-{key}": a for key, a in arrays.items()})
            partial.replace(self.folder / f"{name}.npz")
        except (OSError, ValueError) as error:
            # On a full disk the archive cannot even be closed: then ValueError hides the OSError.
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise _not_writable(partial, error) from error

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return named arrays, or None if they are not there."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as archive:
            return {key.removeprefix("a-"): archive[key] for key in archive.files}

    def clear(self) -> None:
        """Remove everything that the run left here."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _not_writable(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path}: cannot be written ({error.__context__ or error}); what a run leaves between its "
        "messages needs room in the station's cache-dir: free some, or give another cache-dir"
    )
