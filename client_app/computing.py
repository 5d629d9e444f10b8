"""What a station computes with: its network, its cache, its distances, its bank's images."""

from __future__ import annotations

import functools

from client_app.station import Station
from common.config import Settings
from common.patchcore import FeatureExtractor
from common.patchcore.distances import Distances
from common.patchcore.exact.device import take_notices
from common.patchcore.model_store import SHARED, bank_of
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput, with_copies
from common.protocol.messages import MAX_NOTICES, as_sentence, without_paths


def computed_by(source: FeatureSource) -> list[str]:
    """What computed the features, and what the CPU did in a device's stead; names no path."""
    extractor, notices = source.extractor, take_notices()
    if extractor.left and not notices:  # in an earlier message to this process
        notices = [f"features by the CPU alone: {extractor.left}"]
    sentences = [extractor.computed_by, *notices][: 1 + MAX_NOTICES]
    return [as_sentence(without_paths(sentence))[:400] for sentence in sentences]


def bank_images(station: Station, bank: str) -> list[ImageInput]:
    """Training images that a bank is built from, with their copies."""
    images = (
        ImageInput(sample.path)
        for sample in station.bank_samples
        if bank in (SHARED, bank_of(sample.category))
    )
    return with_copies(images, station.settings.augment)


def distances_of(settings: Settings) -> Distances:
    """How this run measures distances when rows are chosen."""
    return Distances(settings.coreset_projection, settings.seed)


def cache_of(station: Station) -> FeatureCache:
    """Where the station keeps features, within its limit."""
    return FeatureCache(station.cache / "features", station.cache_limit)


def source_of(station: Station) -> FeatureSource:
    """What gives the features of the station's images, from its cache where they are known."""
    settings = station.settings
    return FeatureSource(
        extractor_of(settings), cache_of(station), settings.batch_size, settings.num_workers
    )


def extractor_of(settings: Settings) -> FeatureExtractor:
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
