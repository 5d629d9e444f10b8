"""Files written whole, errors that name their file, folders that do not outlive the command."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from common.system.ending import undone

_PROBE_BYTES: Final = 4096


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an `OSError` that names no file, as that of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[BinaryIO]:
    """Write a file that appears whole or not at all, in the place of an earlier one.

    Parameters
    ----------
    path : Path
        Its folder is made. Its mode is that of any new file: the umask decides.
    durable : bool
        Return only when it would survive a power failure.

    Yields
    ------
    binary file
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not made of the file's name, which may be as long as the file system allows.
    building = path.with_name(f".{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with naming(path):
            with building.open("wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(building, path)
    finally:
        with contextlib.suppress(OSError):
            building.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; text as UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def require_writable(folder: Path) -> None:
    """Find out by trying whether files can be written into a folder; leaves nothing behind.

    Raises
    ------
    OSError
        As writing would later: a full disk, no permission, a name that is too long, a file in
        the place of a folder.
    """
    made = []
    try:
        for place in (*reversed(folder.parents), folder):
            if not place.is_dir():
                if place.exists():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
                place.mkdir()
                made.append(place)
        probe = folder / f".{os.getpid()}.probe"
        try:
            with naming(folder):
                probe.write_bytes(bytes(_PROBE_BYTES))
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
    finally:
        for place in reversed(made):
            with contextlib.suppress(OSError):
                place.rmdir()


def temporary_folder(prefix: str) -> contextlib.AbstractContextManager[Path]:
    """Make a private folder that goes with the block, or with the command."""
    return undone(lambda: Path(tempfile.mkdtemp(prefix=prefix)), _remove)


def _remove(folder: Path) -> None:
    """Remove a folder, into which ending processes may still be writing."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
