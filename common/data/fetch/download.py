"""One file from a web server: whole and verified, or a part that the next call goes on from."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from common.data.fetch import transfer
from common.data.fetch.alone import alone_with
from common.data.fetch.transfer import Patience, Progress, Transfer
from common.data.fetch.verify import wrong_content
from common.errors import InputError
from common.paths import beside
from common.system.files import naming


def download(
    url: str,
    to: Path,
    *,
    sha256: str,
    size: int | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Bring a file here, verified, or leave a part of it from which the next call goes on.

    Parameters
    ----------
    url : str
        `http` or `https`; redirections are followed.
    to : Path
        Where it is to be; its folder is made. What is there already must be the file.
    sha256 : str
        Digest in hexadecimal, or the first digits of it.
    size : int, optional
        Bytes; where unknown the server's word is taken, and the digest decides.
    patience : Patience, optional
    progress : callable (bytes here, bytes in all or None), optional
    stop : Event, optional
        Set by another thread that wants this one to end.

    Returns
    -------
    Path
        `to`, which appears whole or not at all.

    Raises
    ------
    InputError
        If the address is none, `to` is another file, or another process is fetching it.
    DownloadError
        For everything else that goes wrong on the way; one line that says whether a part is kept.
    OSError
        If the system refuses to write; what was written is kept.
    StoppedError
        If `stop` was set.

    Notes
    -----
    The part is `<name>.partial` beside `to`. It is kept only while the rest can follow, and is
    verified with the rest: a stale one costs time, never truth. Memory: a block of 1 MiB.
    """
    if os.path.lexists(to):
        if found := wrong_content(to, sha256, size):
            raise InputError(f"{to}: {found}; remove it, then fetch it again")
        return to
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(to, ".partial")
    busy = f"{partial}: another process is fetching this file; wait for it"
    with naming(partial), alone_with(partial, busy) as file:
        patience = patience or transfer.PATIENCE
        try:
            Transfer(url, sha256, size, file, patience, progress, stop).run()
            file.flush()
            os.fsync(file.fileno())
            os.replace(partial, to)
        finally:
            with contextlib.suppress(OSError):
                file.flush()
            with contextlib.suppress(OSError):
                if partial.stat().st_size == 0:
                    partial.unlink()
    return to
