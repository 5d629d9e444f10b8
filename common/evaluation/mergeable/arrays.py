"""The counts of an evaluation as arrays that can be sent, and back.

Arrays travel as unsigned integers of the narrowest type that holds them; a histogram's bins as
steps from one to the next. Names travel as JSON in an array of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation.images import ImageRecord
from common.evaluation.mergeable.checks import FORMAT, GROUPS, checked_arrays, checked_state
from common.evaluation.mergeable.histogram import BIN_BITS, Histogram
from common.evaluation.mergeable.state import CountsState, RegionCounts
from common.evaluation.pixels import TypeSet


def pack_counts(state: CountsState) -> dict[str, NDArray[Any]]:
    """The state as one-dimensional arrays, the same for any order of updates and merges."""
    images = sorted(state.images)
    regions = sorted(state.regions, key=RegionCounts.sort_key)
    sets = sorted(
        {image.types for image in images}
        | set(state.normal)
        | set(state.anomalous)
        | {(region.defect_type,) for region in regions}
    )
    index = {types: position for position, types in enumerate(sets)}
    header = json.dumps(
        {"format": FORMAT, "bin_bits": BIN_BITS, "type_sets": sets}, ensure_ascii=False
    )
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(header.encode(), dtype=np.uint8).copy(),
        "images_score": np.array([image.score for image in images], dtype=np.float64),
        "images_label": np.array([image.label for image in images], dtype=np.uint8),
        "images_set": _narrow([index[image.types] for image in images]),
        "images_has_masks": np.array([image.has_masks for image in images], dtype=np.uint8),
        "regions_saturation": _narrow([region.saturation_area for region in regions]),
    }
    groups: dict[str, list[tuple[TypeSet, Histogram]]] = {
        "normal": sorted(state.normal.items(), key=lambda item: item[0]),
        "anomalous": sorted(state.anomalous.items(), key=lambda item: item[0]),
        "regions": [((region.defect_type,), region.pixels) for region in regions],
    }
    for name, members in groups.items():
        histograms = [histogram for _, histogram in members]
        arrays[f"{name}_set"] = _narrow([index[types] for types, _ in members])
        arrays[f"{name}_size"] = _narrow([histogram.bins.size for histogram in histograms])
        arrays[f"{name}_first"] = _narrow([int(histogram.bins[0]) for histogram in histograms])
        steps = [np.diff(histogram.bins, prepend=histogram.bins[:1]) for histogram in histograms]
        arrays[f"{name}_step"] = _narrow(np.concatenate([np.empty(0, np.uint32), *steps]))
        counts = [histogram.counts for histogram in histograms]
        arrays[f"{name}_count"] = _narrow(np.concatenate([np.empty(0, np.int64), *counts]))
    return arrays


def unpack_counts(arrays: Mapping[str, NDArray[Any]]) -> CountsState:
    """The state that `pack_counts` packed; the arrays may come from anywhere.

    Raises
    ------
    ValueError
        With one sentence, if an array is missing, unknown, of another type or shape, too large,
        or contradicts another one.
    """
    columns, sets = checked_arrays(arrays)
    images = [
        ImageRecord(int(label), float(score) + 0.0, sets[which], bool(has_masks))
        for label, score, which, has_masks in zip(
            columns["images_label"],
            columns["images_score"],
            columns["images_set"],
            columns["images_has_masks"],
            strict=True,
        )
    ]
    groups = {name: _histograms(name, columns) for name in GROUPS}
    types_of = {name: [sets[which] for which in columns[f"{name}_set"]] for name in GROUPS}
    saturation = columns["regions_saturation"].tolist()
    return checked_state(
        CountsState(
            images=images,
            normal=dict(zip(types_of["normal"], groups["normal"], strict=True)),
            anomalous=dict(zip(types_of["anomalous"], groups["anomalous"], strict=True)),
            regions=[
                RegionCounts("".join(types), area, pixels)
                for types, area, pixels in zip(
                    types_of["regions"], saturation, groups["regions"], strict=True
                )
            ],
        ),
        types_of,
    )


def _histograms(name: str, columns: Mapping[str, NDArray[Any]]) -> list[Histogram]:
    """Cut the columns of one kind of histograms at their sizes and add up the steps."""
    sizes = columns[f"{name}_size"].astype(np.int64)
    ends = np.cumsum(sizes)
    along = np.cumsum(columns[f"{name}_step"].astype(np.int64))
    # Every histogram's own first step is 0, so `along` there is what its predecessors added up.
    offset = columns[f"{name}_first"].astype(np.int64) - along[ends - sizes]
    bins = (along + np.repeat(offset, sizes)).astype(np.uint32)
    counts = columns[f"{name}_count"].astype(np.int64)
    return [
        Histogram(bins[end - size : end], counts[end - size : end])
        for size, end in zip(sizes, ends, strict=True)
    ]


def _narrow(values: list[int] | NDArray[np.integer]) -> NDArray[Any]:
    """Whole numbers, none negative, in the narrowest unsigned type that holds them all."""
    wide = np.asarray(values, dtype=np.uint64)
    for dtype in (np.uint8, np.uint16, np.uint32):
        if wide.size == 0 or wide.max() <= np.iinfo(dtype).max:
            return wide.astype(dtype)
    return wide
