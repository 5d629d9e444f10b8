"""A watched folder: every image that arrives is judged once, when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from common.data.images import is_image_name
from common.errors import InputError, explained
from common.inspection.images import OverlayNames, in_natural_order, walk_images
from common.inspection.inspector import Inspector, Result, unjudged
from common.inspection.journal import Journal, file_digest
from common.inspection.results import GrowingResults
from common.inspection.whole import is_whole
from common.paths import path_text
from common.system.ending import shielded

_AT_ONCE: Final = 32
REST: Final = 9.0
"""A look that finds nothing is followed by a pause so many times as long,"""
LONGEST_REST: Final = 10.0
"""but of so many seconds at most."""
_BATCHES: Final = 8

Stamp = tuple[int, int, int]
"""Size, time of change in ns and inode: as long as they stay the same, nobody has written."""


@dataclass(frozen=True)
class WatchOptions:
    """How a folder is watched.

    Attributes
    ----------
    poll : float
        Seconds between two looks.
    settle : float
        Seconds for which a file must stay as it is before it counts as whole.
    patience : float
        Seconds after which a file that still cannot be read is given up and reported.
    idle : float or None
        Stop after so many seconds without anything new; None: never.
    """

    poll: float = 0.5
    settle: float = 1.0
    patience: float = 30.0
    idle: float | None = None


@dataclass
class _Arrival:
    """A file that is not judged yet."""

    stamp: Stamp
    since: float


@dataclass
class _Refusal:
    """A file that cannot be opened, or a folder that cannot be listed."""

    since: float
    told: bool = False


class Watcher:
    """Judges the images of a folder as they arrive.

    Parameters
    ----------
    inspector : Inspector
    folder : Path
        Searched with all its sub-folders.
    options : WatchOptions

    Raises
    ------
    InputError
        If the folder does not exist, or the results folder belongs to another watch.
    OSError
        If the results cannot be written.

    Notes
    -----
    An image is judged when its file has stayed the same for `settle` seconds and is whole,
    and the same file is found before and after judging. Its line in the journal is on disk before
    the next one is judged; `results.json` and `results.csv` follow it a little later, and are made
    from it after a crash. The same name with other bytes is another image; the same bytes written
    again under the same name are not.

    What the system refuses to open (a permission, a failing disk) is reported once, after
    `patience` seconds, and judged when it can be; meanwhile nothing waits for it. A sub-folder that
    is removed takes its images along.

    A look at the folder costs one `stat` a file, however many have been judged, and the pause
    after one that found nothing is nine times as long (10 seconds at most).
    """

    def __init__(self, inspector: Inspector, folder: Path, options: WatchOptions) -> None:
        if not folder.is_dir():
            raise InputError(f"--watch {folder}: no such folder")
        self.inspector, self.folder, self.options = inspector, folder.absolute(), options
        self.journal = Journal(inspector.out, self._header())
        overlays = [entry["overlay"] for entry in self.journal.entries if entry["overlay"]]
        self.names = OverlayNames(overlays)
        self.judged = {
            (path_text(entry["path"]), entry["sha256"]) for entry in self.journal.entries
        }
        self.known = {
            path_text(entry["path"]): (entry["bytes"], entry["changed_ns"], entry["inode"])
            for entry in self.journal.entries
        }
        self.arrivals: dict[str, _Arrival] = {}
        self.errors: dict[str, OSError] = {}
        self.refusals: dict[str, _Refusal] = {}
        for entry in self.journal.entries:
            key = path_text(entry["path"])
            if entry["sha256"] is None:
                self.refusals[key] = _Refusal(0.0, told=True)
            else:
                self.refusals.pop(key, None)
        self.results = GrowingResults(
            inspector.out, [_public(entry) for entry in self.journal.entries]
        )

    def run(self, on_result: Callable[[Result], None]) -> None:
        """Watch until interrupted, or idle for long enough; the results are whole either way."""
        quiet = time.monotonic()
        try:
            self.results.write()
            while True:
                worked = False
                began = time.monotonic()
                for result in self.step():
                    worked = True
                    on_result(result)
                    self.results.write_when_due()
                now = time.monotonic()
                looked = min(LONGEST_REST, REST * (now - began))
                self.results.write_when_due()
                idle = self.options.idle
                if worked or self._waits():
                    quiet = now
                elif idle is not None and now - quiet >= idle:
                    return
                time.sleep(self.options.poll if worked else max(self.options.poll, looked))
        finally:
            self.results.write()
            self.journal.close()

    def _waits(self) -> bool:
        """Whether something is on its way; not for what was told to be refused."""
        untold = any(not refusal.told for refusal in self.refusals.values())
        return untold or any(path not in self.refusals for path in self.arrivals)

    def step(self) -> Iterator[Result]:
        """Look once, and judge what is whole."""
        ready = self._ready(time.monotonic())
        yield from self._refused(time.monotonic())
        for begin in range(0, len(ready), _AT_ONCE):
            yield from self._judge(ready[begin : begin + _AT_ONCE])

    def _ready(self, now: float) -> list[tuple[Path, Stamp, str]]:
        """Files that have settled, with their stamps and digests."""
        ready: list[tuple[Path, Stamp, str]] = []
        new: dict[Path, Stamp] = {}
        self.errors = {}
        for entry in walk_images(self.folder, self.inspector.out, self._note):
            with self._noting(Path(entry.path)):
                stamp = _stamp(entry)
                if self.known.get(path_text(entry.path)) != stamp:
                    new[Path(entry.path)] = stamp
        for path in in_natural_order(new):
            stamp, key = new[path], path_text(path)
            arrival = self.arrivals.get(key)
            if arrival is None or arrival.stamp != stamp:
                self.arrivals[key] = _Arrival(stamp, now)
                continue
            if now - arrival.since < self.options.settle or len(ready) == _BATCHES * _AT_ONCE:
                continue  # of a large backlog the first are judged before the last are read
            digest = None
            with self._noting(path):
                digest = file_digest(path)
            if digest is None:
                continue
            self.refusals.pop(key, None)
            if (key, digest) in self.judged:  # touched, or copied over itself
                self.known[key] = stamp
                del self.arrivals[key]
            elif (
                not is_image_name(path.name)  # it will not be read when it is whole, either
                or is_whole(path)
                or now - arrival.since >= self.options.patience
            ):
                ready.append((path, stamp, digest))
        for key in set(self.arrivals) - {path_text(path) for path in new}:
            del self.arrivals[key]
        for key in set(self.refusals) - set(self.errors) - set(self.arrivals):
            del self.refusals[key]  # gone, or as it was when it was judged
        return ready

    def _note(self, path: Path, error: OSError) -> None:
        key = path_text(path)
        self.errors[key] = error
        self.refusals.setdefault(key, _Refusal(time.monotonic()))

    @contextlib.contextmanager
    def _noting(self, path: Path) -> Iterator[None]:
        """Let one file's refusal be its own; a file that has gone is none of ours."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            self._note(path, error)

    def _refused(self, now: float) -> Iterator[Result]:
        """What has been refused for so long that it is to be said."""
        for key, error in self.errors.items():
            refusal = self.refusals[key]
            if not refusal.told and now - refusal.since >= self.options.patience:
                error.filename = key
                result = unjudged(Path(key), self.inspector.rule, explained(error))
                refusal.told = True
                self._keep(result, None, (None, None, None))
                yield result

    def _judge(self, ready: list[tuple[Path, Stamp, str]]) -> Iterator[Result]:
        work = [(path, self.names.name(path.relative_to(self.folder))) for path, _, _ in ready]
        results = self.inspector.judge(work)
        for (path, stamp, digest), result in zip(ready, results, strict=True):
            if not _is_still(path, stamp, digest):
                continue  # written to meanwhile: it is looked at again
            self._keep(result, digest, stamp)
            key = path_text(path)
            self.judged.add((key, digest))
            self.known[key] = stamp
            self.arrivals.pop(key, None)
            yield result

    def _keep(
        self, result: Result, digest: str | None, stamp: Stamp | tuple[None, None, None]
    ) -> None:
        """Put a result on disk; of a file that was never opened nothing else is known."""
        entry = result.to_json()
        facts = dict(zip(("bytes", "changed_ns", "inode"), stamp, strict=True))
        with shielded():  # in both: the files that an interrupted watch leaves hold all of it
            self.journal.add({**entry, "sha256": digest, **facts})
            self.results.add(entry)

    def _header(self) -> dict[str, Any]:
        model, rule = self.inspector.model, self.inspector.rule
        rows = hashlib.sha256()
        for name in sorted(model.banks):
            rows.update(name.encode() + np.ascontiguousarray(model.banks[name]).tobytes())
        return {
            "model": f"{model.space.fingerprint[:16]}-{rows.hexdigest()[:16]}",
            "image score": model.settings.image_score,
            "category": rule.category,
            "threshold": rule.threshold,
            "folder": path_text(self.folder),
        }


def _public(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of `results.json`: without what only the watch itself needs."""
    private = ("sha256", "bytes", "changed_ns", "inode")
    return {key: value for key, value in entry.items() if key not in private}


def _stamp(file: Path | os.DirEntry[str]) -> Stamp:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _is_still(path: Path, stamp: Stamp, digest: str) -> bool:
    """Whether a file is what it was."""
    try:
        return _stamp(path) == stamp and file_digest(path) == digest
    except OSError:
        return False
