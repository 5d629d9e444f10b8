"""Folders on this machine that are not given by the user, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from common.errors import InputError, explained


def cache_root() -> Path:
    """Private cache of this user: `$FEDPATCHCORE_CACHE`, else `fedpatchcore` in the XDG cache."""
    chosen = os.environ.get("FEDPATCHCORE_CACHE")
    if chosen:
        return expanded(Path(chosen))
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return expanded(Path(base)) / "fedpatchcore"
    except InputError as error:
        raise InputError(
            f"this user (id {os.getuid()}) has no home folder for the cache; name a folder that "
            "can be written by FEDPATCHCORE_CACHE"
        ) from error


def cache_folder(*names: str) -> Path:
    """Return a folder of the cache, made if it was not there, for this user alone.

    Raises
    ------
    InputError
        If the system does not allow it.
    """
    folder = cache_root().joinpath(*names)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"the cache cannot be used: {explained(error)}; or name a folder that can be written "
            "by FEDPATCHCORE_CACHE"
        ) from error
    return folder


def expanded(path: Path) -> Path:
    """Put the home folder in the place of `~` or `~user`.

    Raises
    ------
    InputError
        If there is no such user, or the user has no home.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path}: {path.parts[0]} is nobody's home folder on this machine; write the path out"
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
