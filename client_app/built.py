"""A station chooses the rows that it sends: audited, found again, or selected anew."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client_app.audited import audited, known_audits
from client_app.computing import bank_images, computed_by, distances_of, source_of
from client_app.image_list import Changes
from client_app.kept_rows import KeptRows, key_of
from client_app.run_folder import RunFolder
from client_app.station import Station
from common.errors import NoImagesError
from common.patchcore.local_bank import LocalBank, build_local_bank
from common.patchcore.model_store import SHARED, category_of
from common.patchcore.network.features import FeatureSource
from common.patchcore.row_format import row_dtype, settle
from common.protocol.messages import (
    MAX_NOTICES,
    AuditFacts,
    BankFacts,
    BankPart,
    BuildReply,
    BuildRequest,
    Received,
    part_of_rows,
)

Arrays = dict[str, NDArray[Any]]


def take_bank(station: Station, folder: RunFolder, request: BankPart, rows: Arrays) -> Received:
    """Store one part of the global bank."""
    with folder.lock():
        folder.save_bank(request.round, request.part, rows)
    return Received(station=station.name, part=request.part)


def build_bank(
    station: Station, folder: RunFolder, request: BuildRequest, changes: Changes
) -> tuple[BuildReply, Arrays]:
    """Choose the station's rows (once for what is asked) and return the part asked for.

    Parameters
    ----------
    station : Station
        With the images of the survey.
    changes : Changes
        What has become of them.

    Raises
    ------
    ImagesChangedError
        If an image that was counted for a bank asked for is another one now, or gone.
    """
    lost = [
        name
        for bank in request.budgets
        for name in changes.lost("bank", None if bank == SHARED else category_of(bank))
    ]
    if lost:
        raise changes.error(station, lost)
    # Rows chosen for other budgets answer nothing: a request may come that is not the first's part.
    asked = json.dumps([sorted(request.budgets.items()), request.bank_parts])
    with folder.lock():
        saved = f"rows-{request.round}"
        arrays = folder.load(saved)
        if arrays is None or str(arrays["asked"]) != asked:
            centers = folder.banks(request.round - 1, request.bank_parts)
            arrays = {**_choose_rows(station, folder, request, centers), "asked": np.array(asked)}
            folder.save(saved, arrays)
    banks, part = {}, {}
    for name in request.budgets:
        rows = arrays[f"rows.{name}"]
        patches, radius = arrays[f"facts.{name}"]
        banks[name] = BankFacts(patches=int(patches), rows=len(rows), radius=float(radius))
        part[name] = part_of_rows(rows, request.part, request.parts)
    found = known_audits(station, folder) or {}
    seconds, extracted = arrays["seconds"]
    device, *notices = (str(sentence) for sentence in arrays["device"])
    if told := changes.told():
        notices.insert(0, told)
    reply = BuildReply(
        station=station.name,
        banks=banks,
        audits={name: AuditFacts.model_validate(audit.counts()) for name, audit in found.items()},
        seconds=float(seconds),
        extracted=int(extracted),
        device=device,
        notices=notices[:MAX_NOTICES],
    )
    return reply, part


def _choose_rows(
    station: Station, folder: RunFolder, request: BuildRequest, centers: Arrays
) -> Arrays:
    started = time.monotonic()
    source = source_of(station)
    kept, key, producer = KeptRows(station.cache), "", source.extractor.producer
    arrays: Arrays | None = None
    station = audited(station, folder, source)
    if station.real:  # a simulation's stations share one cache, and begin anew in seconds
        key = _key_of_rows(station, folder, request, centers, source)
        arrays = kept.get(key)
    if arrays is None:
        # In scope `shared` they become one bank, and no bank mixes devices.
        arrays = dict(source.whole(_choose_banks, station, folder, request, centers, source))
        arrays["device"] = np.array(computed_by(source))
        if station.real and source.extractor.producer == producer:
            kept.put(key, arrays)
    arrays["seconds"] = np.array([time.monotonic() - started, source.computed], dtype=np.float64)
    return arrays


def _key_of_rows(
    station: Station,
    folder: RunFolder,
    request: BuildRequest,
    centers: Arrays,
    source: FeatureSource,
) -> str:
    """Name of these rows: whatever they depend on is in it, and no number of a run."""
    settings, extractor = station.settings, source.extractor
    facts = {
        "space": extractor.space.fingerprint,
        "producer": extractor.producer,
        "budgets": sorted(request.budgets.items()),
        "wire": settings.wire_dtype,
        "projection": settings.coreset_projection,
        "seed": settings.seed,
        "limits": [_limit(folder, name) for name in sorted(centers)],
        "images": {
            name: [image.content_key() for image in bank_images(station, name)]
            for name in request.budgets
        },
    }
    return key_of(facts, centers)


def _limit(folder: RunFolder, name: str) -> float | None:
    """How far what this station's own rows of the first round cover reaches."""
    first = folder.load("rows-1")
    return float(first[f"facts.{name}"][1]) if first and f"facts.{name}" in first else None


def _choose_banks(
    station: Station,
    folder: RunFolder,
    request: BuildRequest,
    centers: Arrays,
    source: FeatureSource,
) -> Arrays:
    """Rows of every bank asked for, with patches and radius."""
    distances = distances_of(station.settings)
    dtype = row_dtype(station.settings.wire_dtype)
    arrays: dict[str, NDArray[Any]] = {}
    for name, budget in request.budgets.items():
        images = bank_images(station, name)
        if not images:
            raise NoImagesError(f"station {station.name} has no training image for bank {name!r}")
        limit = None
        if name in centers:
            # What this station's own rows of the first round cover already need not be sent.
            limit = _limit(folder, name)
        local: LocalBank = build_local_bank(
            source, images, budget, distances, dtype, centers.get(name), limit
        )
        radius = local.radii[-1] if len(local.radii) else (limit or 0.0)
        arrays[f"rows.{name}"] = settle(local.rows, station.settings.wire_dtype)
        arrays[f"facts.{name}"] = np.array([local.patches, radius], dtype=np.float64)
    return arrays
