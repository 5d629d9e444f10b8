"""A station is asked who it is and what it holds: image headers, no feature."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from client_app.computing import extractor_of
from client_app.station import Station
from common.data.images import read_size
from common.data.layout import Sample
from common.data.remarks import image_remarks
from common.patchcore.local_bank import bank_patches
from common.patchcore.network.feature_space import FeatureSpace
from common.protocol.messages import (
    MAX_NOTICES,
    CategoryCounts,
    SizeCount,
    SpaceFacts,
    SurveyReply,
    as_sentence,
)


def survey(station: Station) -> SurveyReply:
    """Say who the station is and what it holds; reads image headers, computes no feature."""
    extractor = extractor_of(station.settings)
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
