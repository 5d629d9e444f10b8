"""Is a file the one that was published? Its size and its digest say so."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common.data.fetch.trouble import StoppedError
from common.system.files import naming

BLOCK: Final = 1 << 20
"""Bytes that are in memory at a time."""


def wrong_content(
    path: Path,
    sha256: str,
    size: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    stop: threading.Event | None = None,
) -> str | None:
    """Say in which way a file is not the expected one.

    Parameters
    ----------
    path : Path
    sha256 : str
        Digest in hexadecimal, or the first digits of it.
    size : int, optional
        Bytes.
    progress : callable (bytes read, bytes in all), optional
    stop : Event, optional
        Set by another thread that wants this one to end.

    Returns
    -------
    str or None
        What was found and what was expected; None if it is the file.

    Raises
    ------
    OSError
        If it cannot be read.
    StoppedError
        If `stop` was set.
    """
    with naming(path), path.open("rb") as file:
        found = path.stat().st_size
        if size is not None and found != size:
            return f"{found:,} bytes, expected {size:,}"
        digest, done = hashlib.sha256(), 0
        while block := file.read(BLOCK):
            if stop is not None and stop.is_set():
                raise StoppedError
            digest.update(block)
            done += len(block)
            if progress is not None:
                progress(done, found)
    if digest.hexdigest().startswith(sha256.lower()):
        return None
    return f"its sha256 is {digest.hexdigest()[:16]}..., expected {sha256.lower()[:16]}..."
