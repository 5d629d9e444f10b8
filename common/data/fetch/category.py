"""One category of AutoVI, from its zip to a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.data.fetch.archive import unpack
from common.data.fetch.autovi import Archive
from common.data.fetch.download import download
from common.data.fetch.record import Content, count, write_record
from common.data.fetch.source import Source, require_content
from common.data.fetch.transfer import Patience

WORKSHOP: Final = ".fetch"
"""Hidden folder in the data folder, for what is not whole yet."""

Told = Callable[[str, str, int, int | None], None]
"""Is told (category, step, bytes done, bytes in all or None), from any thread."""


@dataclass(frozen=True)
class Fetched:
    """A category that is there now.

    Attributes
    ----------
    category : str
    content : Content
    faults : tuple of str
        What `check` and every run will say of it, if anything.
    """

    category: str
    content: Content
    faults: tuple[str, ...] = ()


def fetch_category(
    archive: Archive,
    root: Path,
    source: Source,
    *,
    told: Told | None = None,
    stop: threading.Event | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Bring one category into a data folder in which it is not yet.

    Parameters
    ----------
    archive : Archive
    root : Path
        The data folder; `root/<category>` appears in it.
    source : Source
    told : callable, optional
    stop : Event, optional
        Set by another thread that wants this one to end.
    patience : Patience, optional

    Returns
    -------
    Fetched

    Raises
    ------
    InputError, RunError, OSError
        In one line; a part of the zip that another call can go on from stays in `root/.fetch`.
    StoppedError
        If `stop` was set.
    """
    workshop = root / WORKSHOP
    workshop.mkdir(exist_ok=True)

    def show(step: str) -> Callable[[int, int | None], None]:
        return lambda done, total: told and told(archive.category, step, done, total)

    packed = (source.folder or workshop) / archive.name
    if source.folder:
        require_content(packed, archive.sha256, archive.size, show("verifying"), stop)
    else:
        download(
            source.url(archive.name),
            packed,
            sha256=archive.sha256,
            size=archive.size,
            patience=patience,
            progress=show("fetching"),
            stop=stop,
        )
    with _building(workshop / f"unpacking-{archive.category}") as building:
        folder = building / archive.category
        unpack(packed, folder, archive.most_bytes, show("unpacking"), stop)
        content, scan = count(building, archive.category)
        write_record(folder, archive, source.place(archive.name), content)
        for place, _, _ in os.walk(building, topdown=False):
            _sync(Path(place))
        folder.rename(root / archive.category)
        _sync(root)
    if not source.folder:
        packed.unlink()
    # Found where it was unpacked, told of where it lies now.
    faults = tuple(str(one.error).replace(f"{building}/", f"{root}/") for one in scan.faults)
    return Fetched(archive.category, content, faults)


@contextlib.contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """Make a folder that goes with the block; one that an ended process left is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Let a folder's entries survive a power failure."""
    number = os.open(folder, os.O_RDONLY)
    try:
        # Some network drives know no such thing for folders.
        with contextlib.suppress(OSError):
            os.fsync(number)
    finally:
        os.close(number)
