"""What a station does for each message: survey, build its bank, score its own images."""

from __future__ import annotations

import functools
import json
import logging
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.common import log
from numpy.typing import NDArray

from client_app.audited import audited, known_audits, without_excluded
from client_app.failures import failure_of
from client_app.image_list import Changes
from client_app.kept_rows import KeptRows, key_of
from client_app.run_folder import RunFolder
from client_app.station import Station
from common.config import Settings
from common.data.images import read_size
from common.data.layout import Sample
from common.data.remarks import image_remarks
from common.errors import InputError, NoImagesError
from common.evaluation.judge import StationJudgement, judge_station, noting, resolution_notices
from common.line.models.known_scores import KnownScores, contents_of, scores_key
from common.patchcore import FeatureExtractor, PatchCore
from common.patchcore.audit.good_images import CategoryAudit, names_below
from common.patchcore.distances import Distances
from common.patchcore.exact.device import take_notices
from common.patchcore.local_bank import (
    LocalBank,
    bank_patches,
    build_local_bank,
    covering_radius,
)
from common.patchcore.model_store import SHARED, bank_of, category_of
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput, with_copies
from common.patchcore.row_format import row_dtype, settle
from common.patchcore.shares import pooled, pooled_owners
from common.protocol.messages import (
    MAX_NOTICES,
    AuditFacts,
    BankFacts,
    BankPart,
    BuildReply,
    BuildRequest,
    CategoryCounts,
    CategoryScores,
    Received,
    ScoreReply,
    ScoreRequest,
    SizeCount,
    SpaceFacts,
    SurveyReply,
    as_sentence,
    part_of_rows,
    without_paths,
)
from common.protocol.records import MalformedReplyError

Arrays = dict[str, NDArray[Any]]


def survey(station: Station) -> SurveyReply:
    """Say who the station is and what it holds; reads image headers, computes no feature."""
    extractor = _extractor(station.settings)
    samples = [*station.bank_samples, *station.held_out, *station.test]
    names = sorted({sample.category for sample in samples})
    notices = [*station.notices, *image_remarks(samples)]
    categories = {}
    for name in names:
        sizes = _sizes(station.bank_samples, name)
        test_sizes = _sizes(station.test, name)
        categories[name] = CategoryCounts(
            images=sum(sizes.values()),
            held_out=sum(sample.category == name for sample in station.held_out),
            test=sum(test_sizes.values()),
            patches=sum(
                images * bank_patches(extractor.space, size, station.settings.augment)
                for size, images in sizes.items()
            ),
            sizes=_told(sizes),
            test_sizes=_told(test_sizes),
        )
    return SurveyReply(
        station=station.name,
        real=station.real,
        synthetic=station.index.synthetic,
        host=as_sentence(platform.node())[:255],
        categories=categories,
        feature_space=_shown_space(station, extractor.space),
        feature_dim=extractor.feature_dim,
        notices=[as_sentence(notice) for notice in notices[:MAX_NOTICES]],
    )


def _sizes(samples: Sequence[Sample], category: str) -> Counter[tuple[int, int]]:
    """Count the images of a category by their (height, width)."""
    return Counter(read_size(s.path) for s in samples if s.category == category)


def _told(sizes: Counter[tuple[int, int]]) -> list[SizeCount]:
    return [
        SizeCount(height=height, width=width, images=images)
        for (height, width), images in sorted(sizes.items())
    ]


def _shown_space(station: Station, space: FeatureSpace) -> SpaceFacts:
    """Describe the feature space; the name of a real station's weight file stays there."""
    if station.real and station.settings.weights not in ("imagenet", "random"):
        space = replace(space, weights="local file")
    return SpaceFacts(**space.to_json())


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
            centers = _stored_bank(folder, request.round - 1, request.bank_parts)
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
        banks = _stored_bank(folder, request.round, parts) if parts else rows
        model = PatchCore(
            station.settings, extractor=_extractor(station.settings), cache=_cache(station)
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
    device, *notices = _computed_by(model.source)
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


def _choose_rows(
    station: Station, folder: RunFolder, request: BuildRequest, centers: Arrays
) -> Arrays:
    started = time.monotonic()
    source = _source(station)
    kept, key, producer = KeptRows(station.cache), "", source.extractor.producer
    arrays: Arrays | None = None
    station = audited(station, folder, source)
    if station.real:  # a simulation's stations share one cache, and begin anew in seconds
        key = _key_of_rows(station, folder, request, centers, source)
        arrays = kept.get(key)
    if arrays is None:
        # In scope `shared` they become one bank, and no bank mixes devices.
        arrays = dict(source.whole(_choose_banks, station, folder, request, centers, source))
        arrays["device"] = np.array(_computed_by(source))
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
            name: [image.content_key() for image in _bank_images(station, name)]
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
    distances = _distances(station.settings)
    dtype = row_dtype(station.settings.wire_dtype)
    arrays: dict[str, NDArray[Any]] = {}
    for name, budget in request.budgets.items():
        images = _bank_images(station, name)
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


def _computed_by(source: FeatureSource) -> list[str]:
    """What computed the features, and what the CPU did in a device's stead; names no path."""
    extractor, notices = source.extractor, take_notices()
    if extractor.left and not notices:  # in an earlier message to this process
        notices = [f"features by the CPU alone: {extractor.left}"]
    sentences = [extractor.computed_by, *notices][: 1 + MAX_NOTICES]
    return [as_sentence(without_paths(sentence))[:400] for sentence in sentences]


def _stored_bank(folder: RunFolder, round_: int, parts: int) -> Arrays:
    """Put the parts of a global bank together again."""
    banks = folder.load_banks(round_, parts)
    if banks is None:
        raise InputError(f"not all of {parts} parts of the global bank are on this disk")
    return banks


def _radii(
    station: Station, source: FeatureSource, banks: Arrays, changes: Changes
) -> tuple[dict[str, float], dict[str, Exception]]:
    distances, dtype = _distances(station.settings), row_dtype(station.settings.wire_dtype)
    radii, faults = dict[str, float](), dict[str, Exception]()
    for name, bank in banks.items():
        images = _bank_images(station, name)
        if images:
            with noting(faults, name):
                if lost := changes.lost("bank", category_of(name)):
                    raise changes.error(station, lost)
                radii[name] = covering_radius(source, images, bank, distances, dtype)
    return radii, faults


def _bank_images(station: Station, bank: str) -> list[ImageInput]:
    images = (
        ImageInput(sample.path)
        for sample in station.bank_samples
        if bank in (SHARED, bank_of(sample.category))
    )
    return with_copies(images, station.settings.augment)


def _distances(settings: Settings) -> Distances:
    return Distances(settings.coreset_projection, settings.seed)


def _cache(station: Station) -> FeatureCache:
    return FeatureCache(station.cache / "features", station.cache_limit)


def _source(station: Station) -> FeatureSource:
    settings = station.settings
    return FeatureSource(
        _extractor(settings), _cache(station), settings.batch_size, settings.num_workers
    )


def _extractor(settings: Settings) -> FeatureExtractor:
    """Load the network, once a process: a simulation's processes serve many messages."""
    return _load_extractor(
        Settings(
            backbone=settings.backbone,
            layers=settings.layers,
            neighborhood_size=settings.neighborhood_size,
            feature_norm=settings.feature_norm,
            image_size=settings.image_size,
            precision=settings.precision,
            device=settings.device,
            weights=settings.weights,
            seed=settings.seed,
        )
    )


@functools.lru_cache(maxsize=1)
def _load_extractor(settings: Settings) -> FeatureExtractor:
    return FeatureExtractor.from_settings(settings)
