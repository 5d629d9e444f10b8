"""One process at a time: at a file, or in a folder by a file in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from common.errors import InputError


@contextlib.contextmanager
def alone_with(path: Path, busy: str) -> Iterator[BinaryIO]:
    """Open a file for reading and for going on at its end, if no other process holds it.

    Parameters
    ----------
    path : Path
        Made if it is not there; stays.
    busy : str
        What the error says if another process holds it.

    Raises
    ------
    InputError
        If so; nobody waits here.
    """
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have finished, and removed it, between the opening and the lock.
            mine = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except BlockingIOError:
            mine = False
        if not mine:
            raise InputError(busy)
        yield file
