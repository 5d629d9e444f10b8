"""The images of a run, as the station counted them at the survey: nothing joins or moves later.

Which image is held out depends on all that are there, so one that is added between two messages
could turn a held-out image into one of the bank, which then sets its own threshold. The survey's
list decides instead: of what came later nothing is used, and what is gone or other is told.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from flwr.common import log

from client_app.run_folder import RunFolder
from client_app.station import Station
from common.data.samples import Sample
from common.errors import ImagesChangedError

_SAVED: Final = "images"
_ROLES: Final = {"bank": "bank_samples", "held-out": "held_out", "test": "test"}
Entry = tuple[str, str, int, int]
"""Role ("" of another station's in a simulation), path below data-root, bytes, time of change."""


@dataclass(frozen=True)
class Changes:
    """What has become of the images since the survey.

    Attributes
    ----------
    added : list of str
        Files that the survey did not see: none is used.
    changed, removed : dict of role to dict of file to category
        Images that the survey counted as `bank`, `held-out` or `test`.
    """

    added: list[str] = field(default_factory=list)
    changed: dict[str, dict[str, str]] = field(default_factory=dict)
    removed: dict[str, dict[str, str]] = field(default_factory=dict)

    def told(self) -> str:
        """How many, naming no file; empty where nothing changed."""
        counts = {
            "added": len(self.added),
            "changed": sum(map(len, self.changed.values())),
            "removed": sum(map(len, self.removed.values())),
        }
        total = sum(counts.values())
        if not total:
            return ""
        each = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{total} image{'' if total == 1 else 's'} changed since the survey: {each}"

    def lost(self, role: str, category: str | None = None) -> list[str]:
        """Files counted in a role that are other ones now or gone, of one category or of all."""
        return [
            name
            for kind in (self.changed, self.removed)
            for name, of in kind.get(role, {}).items()
            if category in (None, of)
        ]

    def unusable(self, station: Station, score_images: bool) -> dict[str, dict[str, Exception]]:
        """By category and role why its test or held-out images cannot be judged as counted."""
        found: dict[str, dict[str, Exception]] = {}
        for role in ("test", "held-out"):
            for kind in (self.changed, self.removed):
                for category in set(kind.get(role, {}).values()):
                    if role == "held-out" or score_images:
                        own = found.setdefault(category, {})
                        own[role] = self.error(station, self.lost(role, category))
        return found

    def error(self, station: Station, files: list[str]) -> ImagesChangedError:
        """Say that images are needed which are not what was counted."""
        return ImagesChangedError(
            f"{self.told()}; needed, and no longer what was counted, are {', '.join(files)} below "
            f"{station.index.root}; begin the run again when nothing writes there",
            self.told(),
        )


def freeze(station: Station, folder: RunFolder) -> None:
    """Keep what a station counts now: what it is, how large, when it was written and what for.

    Raises
    ------
    RunError
        If the cache-dir cannot be written.
    """
    roles = {
        str(sample.path): role
        for role, where in _ROLES.items()
        for sample in getattr(station, where)
    }
    entries = [_entry(station, sample, roles.get(str(sample.path), "")) for sample in _all(station)]
    categories = {_name(station, one): one.category for one in _all(station)}
    text = json.dumps({"entries": entries, "categories": categories})
    # Without the folder's lock: it is written whole, and a survey waits for no other message.
    folder.save(_SAVED, {"list": np.array(text)})


def as_surveyed(station: Station, folder: RunFolder) -> tuple[Station, Changes]:
    """Return the station with the images of the survey, and what has become of them.

    Where no list is on the disk, as nobody surveyed this run here, it is made now.

    Parameters
    ----------
    station : Station
        As its data-root is now.
    folder : RunFolder

    Returns
    -------
    station : Station
        Its samples are those that the survey counted, in the roles that they had then, as far as
        they are still there.
    changes : Changes
    """
    kept = folder.load(_SAVED)
    if kept is None:
        freeze(station, folder)
        return station, Changes()
    surveyed = json.loads(str(kept["list"]))
    entries: dict[str, Entry] = {name: (r, name, s, t) for r, name, s, t in surveyed["entries"]}
    now = {_name(station, sample): sample for sample in _all(station)}
    changes = Changes(added=sorted(set(now) - set(entries)))
    samples: dict[str, list[Sample]] = {role: [] for role in _ROLES}
    for name, entry in entries.items():
        role = entry[0]
        if not role:
            continue
        category = surveyed["categories"][name]
        if name not in now:
            changes.removed.setdefault(role, {})[name] = category
            continue
        samples[role].append(now[name])
        if _entry(station, now[name], role) != entry:
            changes.changed.setdefault(role, {})[name] = category
    if told := changes.told():
        files = [*changes.added, *(name for role in _ROLES for name in changes.lost(role))]
        log(logging.WARNING, "fedpatchcore station: %s: %s", told, ", ".join(files))
    return replace(
        station,
        bank_samples=samples["bank"],
        held_out=samples["held-out"],
        test=samples["test"],
    ), changes


def _all(station: Station) -> Iterable[Sample]:
    return station.index.samples


def _name(station: Station, sample: Sample) -> str:
    path, root = sample.path, Path(station.index.root)
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _entry(station: Station, sample: Sample, role: str) -> Entry:
    """What is kept of an image; one that vanishes at this moment has no size."""
    try:
        facts = sample.path.stat()
    except OSError:
        return role, _name(station, sample), -1, -1
    return role, _name(station, sample), facts.st_size, facts.st_mtime_ns
