"""AutoVI's `defects_config.json`, and the ground-truth regions of an image."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.fault import Fault, FaultKind
from common.data.images import open_picture, set_upright
from common.data.regions import Region, saturation_area
from common.data.samples import Category, DefectEntry, DefectsConfig, Sample
from common.errors import InputError


def read_defects_config(path: Path) -> DefectsConfig:
    """Read and check a `defects_config.json`.

    Raises
    ------
    InputError
        If it is not a list of complete, usable entries with distinct grey values from 1 to 255.
    """
    try:
        entries = json.loads(path.read_bytes())  # in any Unicode encoding, with a mark or without
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}); restore the file") from error
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of defects, found {type(entries).__name__}")
    config: DefectsConfig = {}
    for number, entry in enumerate(entries):
        parsed = _entry(path, number, entry)
        if parsed.pixel_value in config:
            raise InputError(
                f"{path}: entry {number}: pixel_value {parsed.pixel_value} occurs twice"
            )
        config[parsed.pixel_value] = parsed
    return config


def _entry(path: Path, number: int, entry: Any) -> DefectEntry:
    try:
        name, value = entry["defect_name"], entry["pixel_value"]
        threshold, relative = entry["saturation_threshold"], entry["relative_saturation"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: entry {number}: {error} is missing; expected defect_name, pixel_value, "
            "saturation_threshold and relative_saturation"
        ) from error
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InputError(f"{path}: entry {number}: defect_name {name!a}; expected a printable name")
    if type(value) is not int or not 1 <= value <= 255:
        raise InputError(f"{path}: entry {number}: pixel_value {value!r}; expected 1 to 255")
    if type(relative) is not bool:
        raise InputError(
            f"{path}: entry {number}: relative_saturation {relative!r}; expected true or false"
        )
    if type(threshold) not in (int, float) or not 0 < threshold < math.inf:
        raise InputError(
            f"{path}: entry {number}: saturation_threshold {threshold!r}; expected a number above 0"
        )
    if relative and threshold > 1:
        raise InputError(
            f"{path}: entry {number}: relative saturation_threshold {threshold}; expected at most 1"
        )
    return DefectEntry(name, value, float(threshold), relative)


def load_regions(sample: Sample, category: Category, size: tuple[int, int]) -> list[Region] | None:
    """Ground-truth regions of one image.

    Parameters
    ----------
    sample : Sample
    category : Category
        The sample's own.
    size : (height, width)
        Of the image file; every mask must have it, masks are never resized.

    Returns
    -------
    list of Region, or None
        Empty for a good image; None for a defective one whose category has no ground truth.

    Raises
    ------
    InputError
        On an unreadable mask, another size, no or several grey values, or an unknown grey value.
    """
    if sample.masks is None:
        return None
    regions: list[Region] = []
    for path in sample.masks:
        values, faults = look_at_mask(path, category, sample, size)
        if faults:
            raise faults[0].error
        if category.defects is None:
            regions += _connected_regions(values, sample.defect_type)
        else:
            regions.append(_autovi_region(values, category.defects))
    return regions


def look_at_mask(
    path: Path, category: Category, sample: Sample | None, size: tuple[int, int] | None
) -> tuple[NDArray[np.uint8], list[Fault]]:
    """Read a ground-truth file, and say all that is wrong with it.

    Parameters
    ----------
    path : Path
    category : Category
        The mask's own.
    sample : Sample or None
        The image that it belongs to.
    size : (height, width) or None
        Of that image; None if it is not known.

    Returns
    -------
    values : array of shape (H, W), uint8
        Grey values (AutoVI's masks are RGB or RGBA with equal colours); (0, 0) if unreadable.
    faults : list of Fault
        Empty for a mask that can be used.
    """
    faults: list[Fault] = []

    def note(kind: FaultKind, text: str) -> None:
        faults.append(Fault(kind, path, InputError(f"{path}: {text}")))

    try:
        pixels = _pixels(path)
    except InputError as error:
        return np.zeros((0, 0), np.uint8), [Fault("unreadable-mask", path, error)]
    values = pixels if pixels.ndim == 2 else pixels[..., 0]
    if sample is not None and size is not None and values.shape != size:
        note(
            "mask-size",
            f"mask is {values.shape[1]}x{values.shape[0]}, its image {sample.path.name} is "
            f"{size[1]}x{size[0]} (width x height); they must be equal",
        )
    if pixels.ndim == 3 and pixels.shape[2] > 2 and (pixels[..., 1:3] != values[..., None]).any():
        note("several-mask-values", "found colours; expected a mask of one grey value")
        return values, faults
    marked = np.unique(values[values > 0]).tolist()
    if category.layout != "autovi":
        if not marked:
            text = "found no pixel above 0; the mask of a defective image is not empty"
            note("empty-mask", text)
    elif len(marked) != 1:
        what = f"grey values {marked[:5]}" if marked else "no pixel above 0"
        text = f"found {what}; a mask holds exactly one positive grey value"
        note("several-mask-values" if marked else "empty-mask", text)
    elif category.defects is not None and marked[0] not in category.defects:
        known = sorted(category.defects)
        note(
            "unknown-mask-value",
            f"grey value {marked[0]} is not in defects_config.json, which knows {known}",
        )
    return values, faults


def _autovi_region(values: NDArray[np.uint8], config: DefectsConfig) -> Region:
    """One file, one region: its single grey value names its defect type."""
    mask, entry = values > 0, config[int(values.max())]
    area = saturation_area(int(mask.sum()), entry.saturation_threshold, entry.relative_saturation)
    return Region(mask, entry.defect_name, area)


def _connected_regions(values: NDArray[np.uint8], defect_type: str) -> list[Region]:
    """MVTec: every 8-connected region is one defect, saturated by its whole area."""
    from scipy import ndimage  # a third of a second, which most messages of a run need not pay

    labels, count = ndimage.label(values > 0, structure=np.ones((3, 3), dtype=int))
    masks = [labels == number for number in range(1, count + 1)]
    return [Region(mask, defect_type, int(mask.sum())) for mask in masks]


def _pixels(path: Path) -> NDArray[np.uint8]:
    """(H, W) or (H, W, channels)."""
    with open_picture(path) as image:
        upright = set_upright(image)
        palette = {"1": "L", "P": "RGB"}.get(upright.mode)
        array = np.asarray(upright.convert(palette) if palette else upright)
    if array.dtype != np.uint8:
        raise InputError(f"{path}: found {array.dtype} pixels; expected an 8-bit mask")
    return array
