"""Checks of counts that came over the network, before anything is computed from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation.mergeable.histogram import BIN_BITS, add_histograms
from common.evaluation.mergeable.state import CountsState
from common.evaluation.pixels import TypeSet

FORMAT = 1
GROUPS = ("normal", "anomalous", "regions")

MAX_ENTRIES = 2**25
"""Elements of the longest array that is accepted."""
MAX_TYPE_SETS = 10_000
MAX_NAME_LENGTH = 200
MAX_PIXELS = 2**53
"""Above this, a float64 no longer holds every count."""

_FLOATS = ("images_score",)
_IMAGES = ("images_score", "images_label", "images_set", "images_has_masks")
_GROUP_PARTS = ("set", "size", "first")
_ENTRY_PARTS = ("step", "count")
ARRAY_NAMES = frozenset(
    ["header", *_IMAGES, "regions_saturation"]
    + [f"{group}_{part}" for group in GROUPS for part in _GROUP_PARTS + _ENTRY_PARTS]
)


def checked_arrays(
    arrays: Mapping[str, NDArray[Any]],
) -> tuple[dict[str, NDArray[Any]], list[TypeSet]]:
    """Check names, types, shapes, sizes and ranges of the arrays, each by itself.

    Returns
    -------
    tuple
        The arrays, integers as int64, and the sets of defect types that they refer to.

    Raises
    ------
    ValueError
        With one sentence about the first fault.
    """
    if set(arrays) != ARRAY_NAMES:
        missing, extra = sorted(ARRAY_NAMES - set(arrays)), sorted(set(arrays) - ARRAY_NAMES)
        raise ValueError(f"evaluation counts lack the arrays {missing} and have extra {extra}")
    columns = {name: _checked_array(name, np.asarray(arrays[name])) for name in ARRAY_NAMES}
    sets = _checked_type_sets(columns.pop("header"))
    _same_length(columns, _IMAGES)
    _same_length(columns, ("regions_saturation", "regions_set"))
    for group in GROUPS:
        _same_length(columns, tuple(f"{group}_{part}" for part in _GROUP_PARTS))
        _same_length(columns, tuple(f"{group}_{part}" for part in _ENTRY_PARTS))
        _check_histograms(group, columns)
    for name in ("images_set", *(f"{group}_set" for group in GROUPS)):
        if columns[name].size and columns[name].max() >= len(sets):
            raise ValueError(f"evaluation counts: {name} refers to a type set that is not listed")
    for name in ("images_label", "images_has_masks"):
        if columns[name].size and columns[name].max() > 1:
            raise ValueError(f"evaluation counts: {name} holds a value other than 0 and 1")
    if not np.isfinite(columns["images_score"]).all():
        raise ValueError("evaluation counts: an image score is not finite")
    if (columns["regions_saturation"] < 1).any():
        raise ValueError("evaluation counts: a saturation area is below 1")
    return columns, sets


def checked_state(state: CountsState, group_sets: Mapping[str, list[TypeSet]]) -> CountsState:
    """Check that images, pixels and regions do not contradict each other.

    Parameters
    ----------
    state : CountsState
        Built from arrays that passed `checked_arrays`.
    group_sets : mapping of str to list of TypeSet
        The type sets of the histograms as sent, in which a repetition still shows.

    Raises
    ------
    ValueError
        With one sentence about the first contradiction.
    """
    for image in state.images:
        if bool(image.label) != bool(image.types):
            raise ValueError("evaluation counts: an image's label and defect types contradict")
    masked_sets = {image.types for image in state.images if image.has_masks}
    for group in ("normal", "anomalous"):
        if len(set(group_sets[group])) != len(group_sets[group]):
            raise ValueError(f"evaluation counts: two {group} histograms have the same types")
    if not set(state.normal) <= masked_sets:
        raise ValueError("evaluation counts: normal pixels of types that no masked image has")
    for types in state.anomalous:
        if not types or not any(set(types) <= set(known) for known in masked_sets):
            raise ValueError("evaluation counts: anomalous pixels of types that no image has")
    if any(len(types) != 1 for types in group_sets["regions"]):
        raise ValueError("evaluation counts: a region has not exactly one defect type")
    names = {name for types in state.anomalous for name in types}
    for name in sorted(names | {region.defect_type for region in state.regions}):
        _check_union(name, state)
    return state


def _checked_array(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """One array: one-dimensional, not too long, of the expected kind of number."""
    if array.ndim != 1 or array.size > MAX_ENTRIES:
        raise ValueError(
            f"evaluation counts: {name} has shape {array.shape}, expected one dimension and at "
            f"most {MAX_ENTRIES} elements"
        )
    if name in _FLOATS:
        if array.dtype != np.float64:
            raise ValueError(f"evaluation counts: {name} has type {array.dtype}, not float64")
        return array
    if array.dtype.kind != "u" or (name == "header" and array.dtype != np.uint8):
        raise ValueError(f"evaluation counts: {name} has type {array.dtype}, not unsigned integer")
    if name == "header":
        return array
    if array.size and int(array.max()) > MAX_PIXELS:
        raise ValueError(f"evaluation counts: {name} holds a number above {MAX_PIXELS}")
    return array.astype(np.int64)


def _checked_type_sets(header: NDArray[np.uint8]) -> list[TypeSet]:
    """The sets of defect types that the header lists."""
    try:
        content = json.loads(header.tobytes().decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError("evaluation counts: the header is not JSON") from error
    if not isinstance(content, dict) or set(content) != {"format", "bin_bits", "type_sets"}:
        raise ValueError("evaluation counts: the header lacks format, bin_bits or type_sets")
    if (content["format"], content["bin_bits"]) != (FORMAT, BIN_BITS):
        raise ValueError(
            f"evaluation counts have format {content['format']} with {content['bin_bits']} bits "
            f"a bin, expected {FORMAT} with {BIN_BITS}: update the older of the two programs"
        )
    sets = content["type_sets"]
    if not isinstance(sets, list) or len(sets) > MAX_TYPE_SETS:
        raise ValueError(f"evaluation counts: expected a list of at most {MAX_TYPE_SETS} type sets")
    for types in sets:
        if not isinstance(types, list) or not all(
            isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH for name in types
        ):
            raise ValueError("evaluation counts: a type set is not a list of names")
        if types != sorted(set(types)):
            raise ValueError("evaluation counts: a type set is unsorted or names a type twice")
    result = [tuple(types) for types in sets]
    if len(set(result)) != len(result):
        raise ValueError("evaluation counts: a type set is listed twice")
    return result


def _same_length(columns: Mapping[str, NDArray[Any]], names: tuple[str, ...]) -> None:
    """Arrays that describe the same things have the same length."""
    if len({columns[name].size for name in names}) != 1:
        raise ValueError(f"evaluation counts: the arrays {', '.join(names)} differ in length")


def _check_histograms(group: str, columns: Mapping[str, NDArray[Any]]) -> None:
    """The histograms of one group: sizes add up, bins ascend and exist, counts are positive."""
    sizes, first = columns[f"{group}_size"], columns[f"{group}_first"]
    steps, counts = columns[f"{group}_step"], columns[f"{group}_count"]
    # As floats: sizes made up to overflow must not come out right.
    if (sizes < 1).any() or sizes.sum(dtype=np.float64) != steps.size:
        raise ValueError(f"evaluation counts: {group}_size does not add up to {steps.size} bins")
    n_bins = 2**BIN_BITS
    if (first >= n_bins).any() or (steps >= n_bins).any():
        raise ValueError(f"evaluation counts: a bin of {group} is not below {n_bins}")
    starts = np.cumsum(sizes) - sizes
    is_start = np.zeros(steps.size, dtype=np.bool_)
    is_start[starts] = True
    if ((steps == 0) != is_start).any():
        raise ValueError(f"evaluation counts: the bins of a {group} histogram do not ascend")
    if sizes.size and (first + np.add.reduceat(steps, starts) >= n_bins).any():
        raise ValueError(f"evaluation counts: a bin of {group} is not below {n_bins}")
    if (counts < 1).any():
        raise ValueError(f"evaluation counts: a bin of {group} holds no pixel")
    if counts.sum(dtype=np.float64) > MAX_PIXELS:
        raise ValueError(f"evaluation counts: {group} holds more than {MAX_PIXELS} pixels")


def _check_union(name: str, state: CountsState) -> None:
    """The pixels of a type are no more than its regions hold together, no fewer than any one."""
    regions = [region.pixels for region in state.regions if region.defect_type == name]
    together = add_histograms(regions)
    union = add_histograms(pixels for types, pixels in state.anomalous.items() if name in types)
    if not np.array_equal(together.bins, union.bins) or (union.counts > together.counts).any():
        raise ValueError(
            f"evaluation counts: the anomalous pixels of type {name!r} do not fit its regions"
        )
    for region in regions:
        # `union` has every bin of every region, or the check above would have failed.
        if (region.counts > union.counts[np.searchsorted(union.bins, region.bins)]).any():
            raise ValueError(
                f"evaluation counts: a region of type {name!r} has more pixels than its type"
            )
