"""A station judges its own images with the global bank; counts and scores leave, no map."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.common import log
from numpy.typing import NDArray

from client_app.audited import known_audits, without_excluded
from client_app.computing import bank_images, cache_of, computed_by, distances_of, extractor_of
from client_app.failures import failure_of
from client_app.image_list import Changes
from client_app.run_folder import RunFolder
from client_app.station import Station
from common.evaluation.judge import StationJudgement, judge_station, noting, resolution_notices
from common.line.models.known_scores import KnownScores, contents_of, scores_key
from common.patchcore import PatchCore
from common.patchcore.audit.good_images import CategoryAudit, names_below
from common.patchcore.local_bank import covering_radius
from common.patchcore.model_store import SHARED, category_of
from common.patchcore.network.features import FeatureSource
from common.patchcore.row_format import row_dtype
from common.patchcore.shares import pooled, pooled_owners
from common.protocol.messages import (
    MAX_NOTICES,
    CategoryScores,
    ScoreReply,
    ScoreRequest,
    as_sentence,
)
from common.protocol.records import MalformedReplyError

Arrays = dict[str, NDArray[Any]]


def score(
    station: Station,
    folder: RunFolder,
    request: ScoreRequest,
    rows: Arrays,
    changes: Changes,
    owners: Arrays | None = None,
) -> tuple[ScoreReply, Arrays, Arrays]:
    """Judge the station's own images with the global bank; only counts and scores leave.

    Parameters
    ----------
    rows : dict of bank to array
        The rows of the global bank by category, unless they came before in parts. In scope
        `shared` they judge together.
    changes : Changes
        What has become of the images of the survey: a category whose test or held-out images are
        other ones now has no such scores.
    owners : dict of bank to array, optional
        Whose each row is, as a number.

    Returns
    -------
    ScoreReply, counts and the scores without each owner's rows (`OwnerScores`), both by
    `<category>/<array>`.

    Raises
    ------
    MalformedReplyError
        If the owners are not those of the rows.
    """
    started = time.monotonic()
    with folder.lock():
        parts = request.bank_parts
        banks = folder.banks(request.round, parts) if parts else rows
        model = PatchCore(
            station.settings, extractor=extractor_of(station.settings), cache=cache_of(station)
        )
        whose = _checked_owners(owners or {}, banks)
        judging = banks
        if banks and station.settings.bank_scope == "shared":
            judging = {SHARED: pooled(banks)}
            whose = {SHARED: pooled_owners(whose)} if whose else {}
        for name, bank in judging.items():
            model.set_bank(name, bank, whose.get(name))
        audits = known_audits(station, folder) or {}
        station = without_excluded(station, audits)
        contents = contents_of(_own_images(station)) if station.real else {}
        found, radius, unmeasured, tested = model.source.whole(
            _judge, station, request, model, banks, changes
        )
        if station.real and banks:
            _keep_scores(station, model, found, tested, contents)
            # The finished model is these very rows: nothing travels twice.
            folder.keep_banks(request.round, {} if parts else rows)
        else:
            folder.clear()
    _name_farthest(station, found)
    device, *notices = computed_by(model.source)
    notices += [
        f"bank {name}: how far it lies from the training images was not measured, "
        f"{failure_of(error, station.real)}"
        for name, error in unmeasured.items()
    ]
    if told := changes.told():
        notices.insert(0, told)
    notices += map(as_sentence, resolution_notices(found.defects, model.space))
    reply = ScoreReply(
        station=station.name,
        categories={
            name: CategoryScores(
                test=found.counts[name].n_images,
                held_out_scores=list(own.held_out),
                suspicious_held_out=_suspected(name, own.held_out, audits),
                failed={
                    what: failure_of(error, station.real)
                    for what, error in found.faults.get(name, {}).items()
                },
            )
            for name, own in found.scores.items()
        },
        without_bank=found.without_bank,
        radius=radius,
        seconds=time.monotonic() - started,
        extracted=model.source.computed,
        device=device,
        notices=notices[:MAX_NOTICES],
    )
    counts = {name: own.to_arrays() for name, own in found.counts.items() if own.n_images}
    without = {name: own.to_arrays() for name, own in found.without.items()}
    return reply, _flat(counts), _flat(without)


def _flat(arrays: dict[str, Arrays]) -> Arrays:
    return {f"{name}/{key}": array for name, own in arrays.items() for key, array in own.items()}


def _checked_owners(owners: Arrays, banks: Arrays) -> Arrays:
    """Whose the rows are, if that was told of all of them."""
    if owners and set(owners) != set(banks):
        found, expected = sorted(owners)[:9], sorted(banks)[:9]
        raise MalformedReplyError(f"owners of the rows of {found}; expected of {expected}")
    for name, own in owners.items():
        if own.dtype != np.uint16 or own.shape != (len(banks[name]),):
            raise MalformedReplyError(
                f"bank {name!r}: owners, {own.dtype} of shape {own.shape}; expected uint16 of "
                f"shape {(len(banks[name]),)}"
            )
    return owners


def _judge(
    station: Station, request: ScoreRequest, model: PatchCore, banks: Arrays, changes: Changes
) -> tuple[StationJudgement, dict[str, float], dict[str, Exception], dict[Path, float]]:
    """Judge the station's images; how far its training patches lie from their rows, or why not.

    The training images come first, as their features are in the cache still. The last is the score
    of each test image, as acceptance of the model will ask for it.
    """
    tested = dict[Path, float]()
    radii, unmeasured = _radii(station, model.source, banks, changes)
    test, held_out = station.test, station.held_out
    found = judge_station(
        model,
        station.index,
        test,
        held_out,
        lambda sample, prediction: tested.update({sample.path: prediction.score}),
        score_test=request.score_images,
        unusable=changes.unusable(station, request.score_images),
    )
    return found, radii, unmeasured, tested


def _own_images(station: Station) -> list[Path]:
    """Return the files that are judged."""
    return [sample.path for sample in (*station.test, *station.held_out)]


def _keep_scores(
    station: Station,
    model: PatchCore,
    found: StationJudgement,
    tested: Mapping[Path, float],
    contents: Mapping[Path, str],
) -> None:
    """Leave the scores on the disk for the acceptance test of the model, which has these rows."""
    known, of = KnownScores(station.cache), {one.path: one.category for one in station.test}
    for category, held_out in found.held_out.items():
        own = {path: score for path, score in tested.items() if of[path] == category}
        scores = {**own, **held_out}
        known.add(
            scores_key(model, category),
            {contents[path]: score for path, score in scores.items() if path in contents},
        )


def _suspected(
    category: str, held_out: Sequence[float], audits: Mapping[str, CategoryAudit]
) -> int:
    """How many of the held-out images that were scored look unlike all the others."""
    return len(audits[category].suspicious_held_out) if held_out and category in audits else 0


def _name_farthest(station: Station, found: StationJudgement) -> None:
    """Name the held-out images of the highest scores: here alone, as only here are their files."""
    for category, farthest in found.farthest.items():
        for sample, value, beyond in farthest:
            log(
                logging.WARNING if beyond else logging.INFO,
                "fedpatchcore station: %s: held-out image %s scores %.4g%s",
                category,
                *names_below(station.index.root, [sample]),
                value,
                ", beyond the fence of this station's own scores" if beyond else "",
            )


def _radii(
    station: Station, source: FeatureSource, banks: Arrays, changes: Changes
) -> tuple[dict[str, float], dict[str, Exception]]:
    distances, dtype = distances_of(station.settings), row_dtype(station.settings.wire_dtype)
    radii, faults = dict[str, float](), dict[str, Exception]()
    for name, bank in banks.items():
        images = bank_images(station, name)
        if images:
            with noting(faults, name):
                if lost := changes.lost("bank", category_of(name)):
                    raise changes.error(station, lost)
                radii[name] = covering_radius(source, images, bank, distances, dtype)
    return radii, faults
