"""A station's good images are looked over once a run, before its bank is built."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from flwr.common import log

from client_app.run_folder import RunFolder
from client_app.station import Station
from common.data.samples import Sample
from common.patchcore.audit.good_images import (
    CategoryAudit,
    audit_samples,
    names_below,
    without_suspicious,
)
from common.patchcore.network.features import FeatureSource

_SAVED: Final = "audit"
_LISTS: Final = ("suspicious", "suspicious_held_out")


def audited(station: Station, folder: RunFolder, source: FeatureSource) -> Station:
    """Look the station's good images over, name those that are suspicious in its own log.

    Parameters
    ----------
    station : Station
        With the images of the survey.
    folder : RunFolder
        Locked; keeps what was found for the messages that follow.
    source : FeatureSource

    Returns
    -------
    Station
        With the images that its bank is built from: with `audit-good=exclude` fewer.
    """
    found = known_audits(station, folder)
    if found is None:
        settings = station.settings
        found = audit_samples(source, station.bank_samples, station.held_out, settings)
        kept = {
            name: {**audit.counts(), **{key: _paths(getattr(audit, key)) for key in _LISTS}}
            for name, audit in found.items()
        }
        folder.save(_SAVED, {"found": np.array(json.dumps(kept))})
    for category, audit in sorted(found.items()):
        if audit.suspicious or audit.suspicious_held_out:
            log(
                logging.WARNING,
                "fedpatchcore station: %s: unlike all the others look %s; held out: %s "
                "(audit-good=%s)",
                category,
                ", ".join(names_below(station.index.root, audit.suspicious)) or "none",
                ", ".join(names_below(station.index.root, audit.suspicious_held_out)) or "none",
                station.settings.audit_good,
            )
        elif not audit.can_tell:
            log(
                logging.INFO,
                "fedpatchcore station: %s: its %d good images cannot be told apart into usual "
                "and unusual ones",
                category,
                audit.images + audit.held_out,
            )
    return without_excluded(station, found)


def without_excluded(station: Station, found: dict[str, CategoryAudit]) -> Station:
    """Return the station with the images that its bank is built from."""
    bank = without_suspicious(station.bank_samples, found, station.settings)
    return replace(station, bank_samples=bank)


def known_audits(station: Station, folder: RunFolder) -> dict[str, CategoryAudit] | None:
    """What an earlier message of this run found; None if none has looked."""
    saved = folder.load(_SAVED)
    if saved is None:
        return None
    by_path = {str(one.path): one for one in (*station.bank_samples, *station.held_out)}
    found = {}
    for name, kept in json.loads(str(saved["found"])).items():
        lists = {key: [by_path[p] for p in kept[key] if p in by_path] for key in _LISTS}
        found[name] = CategoryAudit(
            kept["images"], kept["held_out"], **lists, can_tell=kept["can_tell"]
        )
    return found


def _paths(samples: list[Sample]) -> list[str]:
    return [str(Path(one.path)) for one in samples]
