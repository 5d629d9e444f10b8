"""The finished model comes: stored whole, tested on this station's own images, activated."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flwr.common import log
from numpy.typing import NDArray

from client_app.run_folder import RunFolder
from client_app.station import Station
from common.config import NAMED_WEIGHTS
from common.errors import RunError
from common.line.models import ModelVersions, OwnImages, StationRules, Version, admit
from common.line.models.delivered import model_of, model_text, rows_digest, text_digest
from common.line.models.known_scores import KnownScores
from common.patchcore.model_store import SHARED, SavedModel
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.shares import pooled
from common.protocol.messages import DeliverReply, DeliverRequest, as_sentence, without_paths
from common.protocol.records import MalformedReplyError

Arrays = dict[str, NDArray[Any]]

BY: Final = "the plant's server"


@dataclass(frozen=True)
class _OnDisk:
    """The digests of a stored model, of its files read again."""

    text: str
    banks: dict[str, str]

    @classmethod
    def of(cls, version: Version) -> _OnDisk:
        model = SavedModel.load(version.folder)
        banks = {name: rows_digest(rows) for name, rows in model.banks.items()}
        return cls(text_digest(model_text(model)), banks)

    def is_what_was_sent(self, request: DeliverRequest) -> bool:
        sent = {name: own.sha256 for name, own in request.banks.items()}
        return self.text == request.sha256 and self.banks == sent


def deliver(station: Station, folder: RunFolder, request: DeliverRequest) -> DeliverReply:
    """Store the model of a run, test it, and activate it where the station says so.

    Parameters
    ----------
    station : Station
        A real one.
    folder : RunFolder
        With the banks that came for this run; emptied when the model is stored.
    request : DeliverRequest

    Returns
    -------
    DeliverReply
        `needs-rows` where the banks are not here, or others than the model's: nothing is done.

    Raises
    ------
    MalformedReplyError
        If the request is not of one piece, or goes to a simulation's station.
    InputError
        If another model is here under the run's id, or a file of the store is damaged.
    RunError
        If what is on the disk then is not what was sent.
    """
    started = time.monotonic()
    if station.models is None:
        raise MalformedReplyError("a station of a simulation keeps no models")
    if text_digest(request.text) != request.sha256:
        raise MalformedReplyError("the sha256 of the model's text is not the one told beside it")
    versions = ModelVersions(station.models)
    with folder.lock():
        version = _stored(versions, request)
        if version is None:
            version = _store(versions, folder, request)
        if version is None:
            return DeliverReply(station=station.name, state="needs-rows")
        found = _OnDisk.of(version)
        if not found.is_what_was_sent(request):
            raise RunError(
                f"{version.folder}: is not what the server sent; nothing was activated, move the "
                "folder away and have the model delivered again"
            )
        known = version.known
        version = _tested(station, versions, version)
        folder.clear()
    return DeliverReply(
        station=station.name,
        state="waiting" if version.state == "kept" else version.state,
        known=known,
        accepted=None if version.acceptance is None else bool(version.acceptance["accepted"]),
        reason=_words(station, version),
        sha256=found.text,
        banks=found.banks,
        model_sha256=version.sha256,
        seconds=time.monotonic() - started,
    )


def _stored(versions: ModelVersions, request: DeliverRequest) -> Version | None:
    """Find this very model, if it is here already."""
    for one in versions.all():
        if one.name == request.run and _OnDisk.of(one).is_what_was_sent(request):
            return replace(one, known=True)
    return None


def _store(versions: ModelVersions, folder: RunFolder, request: DeliverRequest) -> Version | None:
    """Put the model together of its text and the rows that came; None without these."""
    parts = folder.load_banks(request.round, request.bank_parts)
    if not parts:
        return None
    banks: Arrays = parts
    if set(request.banks) == {SHARED} and set(parts) != {SHARED}:
        banks = {SHARED: pooled(parts)}
    found = {name: rows_digest(rows) for name, rows in banks.items()}
    if found != {name: own.sha256 for name, own in request.banks.items()}:
        log(logging.WARNING, "fedpatchcore station: the rows kept for run %s are not those of its "
            "model; they are asked for again", request.run)  # fmt: skip
        return None
    try:
        model = model_of(request.text, banks)
    except ValueError as error:
        raise MalformedReplyError(f"the model's text cannot be used: {error}") from error
    return versions.store(request.run, request.run, model)


def _tested(station: Station, versions: ModelVersions, version: Version) -> Version:
    """Let a version that was never tested be, and activate one that has passed."""
    weights = station.settings.weights
    changes: dict[str, Any] = {
        "device": station.settings.device,
        "batch_size": station.settings.batch_size,
    }
    if weights not in NAMED_WEIGHTS:
        changes["weights"] = weights
    own = OwnImages(
        station.held_out,
        station.test,
        station.name,
        FeatureCache(station.cache / "features", station.cache_limit),
        KnownScores(station.cache),
        changes,
    )
    rules = StationRules(station.name, lambda _: own, station.activate, station.keep_models)
    why = f"delivered by run {version.run_id}"
    found = admit(versions, version, rules, by=BY, why=why)
    told = (found.version.acceptance or {}).get("sentence", "tested before")
    log(logging.INFO, "fedpatchcore station: model %s: %s", version.name, told)
    if found.trouble is not None:  # must not cost the new one
        log(logging.WARNING, "fedpatchcore station: old model versions stay: %s", found.trouble)
    return found.version


def _words(station: Station, version: Version) -> str:
    """Why it is so, without a path."""
    acceptance = version.acceptance or {}
    told = str(version.reason or acceptance.get("sentence") or "")
    if version.state in ("waiting", "kept"):
        told = f"{told}; waits to be activated there (activate = {station.activate})".lstrip("; ")
    weights = station.settings.weights
    if weights not in NAMED_WEIGHTS:  # its name is this station's own affair, as all names of files
        told = told.replace(Path(weights).name, "the station's weight file")
    return as_sentence(without_paths(told))
