"""Several categories side by side: what is there is left alone, one failure stops no other."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.data.fetch.alone import alone_with
from common.data.fetch.autovi import Archive
from common.data.fetch.category import WORKSHOP, Fetched, Told, fetch_category
from common.data.fetch.record import Content, look_at
from common.data.fetch.source import Source
from common.data.fetch.transfer import Patience
from common.data.fetch.trouble import DownloadError, StoppedError, size_text
from common.errors import InputError

AT_A_TIME: Final = 3
"""Enough to fill a line; a public server is not to be asked for more by one user."""
_GRACE: Final = 3.0
"""Seconds that the threads are given to end in order, when all is to end."""


@dataclass
class Plan:
    """What is to be done.

    Attributes
    ----------
    whole : dict of category to Content
        Fetched before, and whole.
    wanted : list of Archive
        To be fetched.
    """

    whole: dict[str, Content] = field(default_factory=dict)
    wanted: list[Archive] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the zips to be fetched."""
        return sum(archive.size for archive in self.wanted)


def make_plan(archives: Sequence[Archive], root: Path, source: Source) -> Plan:
    """Look at what is there, before any byte is fetched.

    Parameters
    ----------
    archives : sequence of Archive
    root : Path
        The data folder; need not exist.
    source : Source

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If a category's place is taken or its images have become fewer, if a folder lacks a zip,
        or if the disk has too little room.
    """
    plan = Plan()
    for archive in archives:
        state, content = look_at(root, archive)
        if state == "whole" and content is not None:
            plan.whole[archive.category] = content
        else:
            plan.wanted.append(archive)
    if source.folder:
        for archive in plan.wanted:
            if not (source.folder / archive.name).is_file():
                raise InputError(
                    f"--from {source.folder}: no file {archive.name} in it; put it there, or name "
                    "the categories that are there by --category"
                )
    _require_room(plan.wanted, root, source)
    return plan


def _require_room(wanted: Sequence[Archive], root: Path, source: Source) -> None:
    """Find out in a second what a disk would say after an hour."""
    largest = sorted((archive.size for archive in wanted), reverse=True)
    # Pictures are as large as their zip; the zips at work lie beside them for a while.
    needed = sum(largest)
    if not source.folder:
        needed += sum(largest[:AT_A_TIME])
        for archive in wanted:
            for name in (archive.name, f"{archive.name}.partial"):
                with contextlib.suppress(OSError):
                    needed -= (root / WORKSHOP / name).stat().st_size
    there = next(place for place in (root, *root.parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(
            f"{root}: {size_text(free)} are free on its disk, about {size_text(needed)} are "
            "needed; make room, give a folder on another disk, or fewer categories by --category"
        )


def fetch_all(
    plan: Plan,
    root: Path,
    source: Source,
    *,
    told: Told | None = None,
    done: Callable[[Fetched], None] | None = None,
    patience: Patience | None = None,
) -> list[tuple[str, Exception]]:
    """Fetch what a plan wants, at most three at a time.

    Parameters
    ----------
    plan : Plan
    root : Path
        The data folder, which is there and can be written.
    source : Source
    told : callable, optional
        Progress, from any thread.
    done : callable (Fetched), optional
        Called in this thread for every category that is there now.
    patience : Patience, optional
        For each category.

    Returns
    -------
    list of (category, exception)
        What failed. Where a failure would meet all, as a full disk, the others were stopped.

    Raises
    ------
    InputError
        If another process is fetching into the same folder.
    """
    failed: list[tuple[str, Exception]] = []
    stop = threading.Event()
    ended: queue.SimpleQueue[tuple[str, Fetched | Exception]] = queue.SimpleQueue()
    todo: queue.SimpleQueue[Archive] = queue.SimpleQueue()
    for archive in sorted(plan.wanted, key=lambda one: one.size):
        todo.put(archive)
    with _alone(root / WORKSHOP):

        def work() -> None:
            with contextlib.suppress(queue.Empty):
                while not stop.is_set():
                    archive = todo.get_nowait()
                    ended.put((archive.category, _outcome(archive)))

        def _outcome(archive: Archive) -> Fetched | Exception:
            try:
                return fetch_category(
                    archive, root, source, told=told, stop=stop, patience=patience
                )
            except Exception as error:
                if meets_all(error):
                    stop.set()
                return error

        workers = [
            threading.Thread(target=work, daemon=True)
            for _ in range(min(AT_A_TIME, len(plan.wanted)))
        ]
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers) or not ended.empty():
                with contextlib.suppress(queue.Empty):
                    category, outcome = ended.get(timeout=0.1)
                    if isinstance(outcome, Fetched):
                        if done is not None:
                            done(outcome)
                    elif not isinstance(outcome, StoppedError):
                        failed.append((category, outcome))
        finally:
            # Ctrl-C ends this thread first; what the others hold is finished or undone by them.
            stop.set()
            for worker in workers:
                if worker.is_alive():
                    worker.join(_GRACE)
    return failed


def meets_all(error: Exception) -> bool:
    """Whether the other categories would fare no better."""
    return error.everywhere if isinstance(error, DownloadError) else isinstance(error, OSError)


@contextlib.contextmanager
def _alone(workshop: Path) -> Iterator[None]:
    """Hold the workshop of a data folder; it goes when nothing is left in it to go on from."""
    workshop.mkdir(exist_ok=True)
    lock = workshop / "lock"
    busy = f"{workshop.parent}: another process is fetching into it; wait for it"
    with alone_with(lock, busy):
        try:
            yield
        finally:
            if {entry.name for entry in workshop.iterdir()} == {lock.name}:
                lock.unlink()
                with contextlib.suppress(OSError):
                    workshop.rmdir()
