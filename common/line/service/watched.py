"""A watched folder: every image that arrives goes through the same queue into the same journal."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.data.images import is_image_name, require_file
from common.errors import FedPatchCoreError, InputError, explained, reason
from common.inspection.images import in_natural_order, walk_images
from common.inspection.watch import LONGEST_REST, REST
from common.line.service.bounds import NotNow, TooLarge
from common.line.service.intake import part_of_file
from common.line.service.service import Service

_BUSY: Final = 0.1
_AT_ONCE: Final = 4
_NO_CONTENT: Final = hashlib.sha256(b"").hexdigest()

Stamp = tuple[int, int, int]
"""Size, time of change in ns and inode: as long as they stay the same, nobody has written."""


@dataclass(frozen=True)
class Pace:
    """How a folder is watched, in seconds.

    Attributes
    ----------
    poll : float
        Between two looks.
    settle : float
        A file must stay as it is for so long before it counts as whole.
    patience : float
        A file that still cannot be read after so long is written down as not judged.
    """

    poll: float = 0.5
    settle: float = 1.0
    patience: float = 30.0


@dataclass
class _Arrival:
    stamp: Stamp
    since: float


class WatchedFolder:
    """Feeds a service with the images of a folder and its sub-folders, each content once.

    Parameters
    ----------
    service : Service
    folder : Path
    category : str or None
    pace : Pace

    Raises
    ------
    InputError
        If there is no such folder, or the model does not know the category.

    Notes
    -----
    A file is taken when it has stayed the same for `settle` seconds and is whole. It is read once:
    what is judged are the bytes whose sha256 is written down. A file that was judged before, also
    by an earlier process, is known by its path and its content: the same name with other bytes is
    another image, and the same bytes written again under the same name are not. What the system
    refuses to open is tried again with every look.
    """

    def __init__(
        self, service: Service, folder: Path, category: str | None, pace: Pace | None = None
    ) -> None:
        if not folder.is_dir():
            raise InputError(f"--watch {folder}: no such folder")
        service.resident.rule(category)
        self.service, self.folder, self.category = service, folder.absolute(), category
        self.pace = pace or Pace()
        self.trouble: str | None = None
        self._known: dict[str, Stamp] = {}
        self._arrivals: dict[str, _Arrival] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the images in hand."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> int:
        """Look once, and judge what is whole; returns how many images that were."""
        ready = self._ready(time.monotonic())
        with ThreadPoolExecutor(min(_AT_ONCE, self.service.bounds.places)) as pool:
            return sum(pool.map(self._judge, ready))

    def _run(self) -> None:
        while not self._end.is_set():
            began, worked = time.monotonic(), 0
            try:
                worked = self.step()
                self.trouble = None
            except Exception as error:
                self.trouble = f"{self.folder}: {reason(error)}"
                self.service.metrics.failed("watch")
            looked = min(LONGEST_REST, REST * (time.monotonic() - began))
            self._end.wait(self.pace.poll if worked else max(self.pace.poll, looked))

    def _ready(self, now: float) -> list[tuple[Path, Stamp, bool]]:
        """Files that have settled, their stamps, and whether patience with them is at its end."""
        seen: dict[str, Stamp] = {}
        for entry in walk_images(self.folder, None, lambda folder, error: None):
            try:
                facts = entry.stat()
            except OSError:
                continue  # gone meanwhile, or refused: looked at again
            seen[entry.path] = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
        self._known = {path: stamp for path, stamp in self._known.items() if path in seen}
        new = {path: stamp for path, stamp in seen.items() if self._known.get(path) != stamp}
        self._arrivals = {path: one for path, one in self._arrivals.items() if path in new}
        ready = []
        for path, stamp in new.items():
            arrival = self._arrivals.get(path)
            if arrival is None or arrival.stamp != stamp:
                self._arrivals[path] = _Arrival(stamp, now)
            elif now - arrival.since >= self.pace.settle:
                ready.append((path, stamp, now - arrival.since >= self.pace.patience))
        order = {
            str(path): n for n, path in enumerate(in_natural_order(Path(one[0]) for one in ready))
        }
        ready.sort(key=lambda one: order[one[0]])
        return [(Path(path), stamp, late) for path, stamp, late in ready]

    def _judge(self, one: tuple[Path, Stamp, bool]) -> bool:
        """Judge a file; False if it must be looked at again, or was judged before."""
        path, stamp, late = one
        while not self._end.is_set() and not self.service.ending:
            try:
                with self.service.place():
                    return self._take(path, stamp, late)
            except NotNow:
                self._end.wait(_BUSY)
        return False

    def _take(self, path: Path, stamp: Stamp, late: bool) -> bool:
        began, key, journal = time.monotonic(), str(path), self.service.journal
        content, sha256 = b"", _NO_CONTENT
        try:
            if stamp[0] > self.service.bounds.upload_bytes:
                raise TooLarge(f"{path.name}: {stamp[0]} bytes are more than is taken")
            require_file(path)
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            if journal.is_judged(key, sha256):
                return self._done(key, stamp, False)
            # What will not be read when it is whole, either, is not waited for.
            whole = is_image_name(path.name) and not late
            picture = self.service.intake.decode(content, path.name, whole)
            judged = self.service.judge.judge(picture.image, self.category)
            self.service.write_down(picture, judged, part_of_file(path), key, "watch", began)
        except FileNotFoundError:
            return False
        except OSError as error:
            if not late:
                return False
            return self._give_up(key, stamp, sha256, explained(error))
        except NotNow:
            raise
        except InputError as error:
            if not late and is_image_name(path.name) and not isinstance(error, TooLarge):
                return False
            return self._give_up(key, stamp, sha256, str(error))
        except FedPatchCoreError as error:
            self.trouble = str(error)
            return False
        return self._done(key, stamp, True)

    def _give_up(self, key: str, stamp: Stamp, sha256: str, error: str) -> bool:
        """Write down that a file cannot be judged, once for each content."""
        new = not self.service.journal.is_judged(key, sha256)
        if new:
            self.service.unjudged(key, self.category, sha256, error)
        return self._done(key, stamp, new)

    def _done(self, key: str, stamp: Stamp, worked: bool) -> bool:
        self._known[key] = stamp
        self._arrivals.pop(key, None)
        return worked
