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

from common.errors import InputError, RunError
from common.paths import locked

STALE_SECONDS: Final = 7 * 24 * 3600
"""What no run has touched for so long belongs to none."""
_ENDED: Final = "ended"
"""Marks a folder whose run has asked for its scores, and may only deliver its model any more."""


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
        runs, self._station = cache / "runs", station
        self.folder = runs / f"{run_id}-{station}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _not_writable(self.folder, error) from error
        for old in runs.iterdir():
            # Another station of a simulation may be removing its own folder at this moment.
            with contextlib.suppress(FileNotFoundError):
                if old != self.folder and time.time() - old.stat().st_mtime > STALE_SECONDS:
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
        save_arrays(self.folder / f"{name}.npz", arrays)

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return named arrays, or None if they are not there."""
        return load_arrays(self.folder / f"{name}.npz")

    def save_bank(self, server_round: int, part: int, rows: Mapping[str, NDArray[Any]]) -> None:
        """Keep one part of the banks after a round."""
        self.save(_bank_name(server_round, part), rows)

    def load_banks(self, server_round: int, parts: int) -> dict[str, NDArray[Any]] | None:
        """Put the parts of the banks after a round together; None if one is not there."""
        stored = [self.load(_bank_name(server_round, part)) for part in range(parts)]
        whole = [part for part in stored if part is not None]
        if len(whole) != parts:
            return None
        if not whole:
            return {}
        return {name: np.concatenate([part[name] for part in whole]) for name in whole[0]}

    def banks(self, server_round: int, parts: int) -> dict[str, NDArray[Any]]:
        """Return the banks after a round, put together of their parts.

        Raises
        ------
        InputError
            If a part is not there.
        """
        banks = self.load_banks(server_round, parts)
        if banks is None:
            raise InputError(f"not all of {parts} parts of the global bank are on this disk")
        return banks

    def keep_banks(self, server_round: int, rows: Mapping[str, NDArray[Any]]) -> None:
        """Remove all but the banks after this round: the run may still deliver its model.

        Parameters
        ----------
        server_round : int
        rows : mapping of bank to array
            The banks, if they are not there in parts.
        """
        if rows:
            self.save_bank(server_round, 0, rows)
        (self.folder / _ENDED).touch()
        for path in self.folder.iterdir():
            if not path.name.startswith((f"bank-{server_round}-", _ENDED, "lock")):
                path.unlink(missing_ok=True)

    def forget_ended(self) -> None:
        """Remove the banks of earlier runs of this station: their model came, or comes no more."""
        for mark in self.folder.parent.glob(f"*-{self._station}/{_ENDED}"):
            # Of a name such as `a-b` those of a station `b` are none, in a cache that both share.
            number = mark.parent.name.removesuffix(f"-{self._station}")
            if number.isdigit() and mark.parent != self.folder:
                shutil.rmtree(mark.parent, ignore_errors=True)

    def clear(self) -> None:
        """Remove everything that the run left here."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _bank_name(server_round: int, part: int) -> str:
    return f"bank-{server_round}-{part}"


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays, whole or not at all.

    Raises
    ------
    RunError
        If the disk is full or the folder may not be written; nothing half is left then.
    """
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **{f"a-{key}": a for key, a in arrays.items()})
        partial.replace(path)
    except (OSError, ValueError) as error:
        # On a full disk the archive cannot even be closed: then ValueError hides the OSError.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _not_writable(partial, error) from error


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return named arrays, or None if they are not there."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        return {key.removeprefix("a-"): archive[key] for key in archive.files}


def _not_writable(path: Path, error: Exception) -> RunError:
    return RunError(
        f"{path}: cannot be written ({error.__context__ or error}); what a run leaves between its "
        "messages needs room in the station's cache-dir: free some, or give another cache-dir"
    )
