"""AutoVI's `defects_config.json`, and the ground-truth regions of an image."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from common.data.images import UNREADABLE, unreadable
from common.data.regions import Region, saturation_area
from common.errors import InputError

if TYPE_CHECKING:
    from common.data.layout import Category, Sample


@dataclass(frozen=True)
class DefectEntry:
    """One entry of `defects_config.json`: what a grey value means and when it is saturated."""

    defect_name: str
    pixel_value: int
    saturation_threshold: float
    relative_saturation: bool


DefectsConfig = dict[int, DefectEntry]
"""Grey value of a mask -> its entry."""


def read_defects_config(path: Path) -> DefectsConfig:
    """Read and check a `defects_config.json`.

    Raises
    ------
    InputError
        If it is not a list of complete, usable entries with distinct grey values from 1 to 255.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
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
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: entry {number}: defect_name {name!r}; expected a name")
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
        values = _read_mask(path)
        if values.shape != size:
            raise InputError(
                f"{path}: mask is {values.shape[1]}x{values.shape[0]}, its image "
                f"{sample.path.name} is {size[1]}x{size[0]} (width x height); they must be equal"
            )
        if category.defects is None:
            regions += _connected_regions(path, values, sample.defect_type)
        else:
            regions.append(_autovi_region(path, values, category.defects))
    return regions


def _autovi_region(path: Path, values: NDArray[np.uint8], config: DefectsConfig) -> Region:
    """One file, one region: its single grey value names its defect type."""
    found = np.unique(values[values > 0])
    if len(found) != 1:
        what = "no pixel above 0" if len(found) == 0 else f"grey values {found[:5].tolist()}"
        raise InputError(f"{path}: found {what}; a mask holds exactly one positive grey value")
    entry = config.get(int(found[0]))
    if entry is None:
        raise InputError(
            f"{path}: grey value {int(found[0])} is not in defects_config.json, which knows "
            f"{sorted(config)}"
        )
    mask = values > 0
    area = saturation_area(int(mask.sum()), entry.saturation_threshold, entry.relative_saturation)
    return Region(mask, entry.defect_name, area)


def _connected_regions(path: Path, values: NDArray[np.uint8], defect_type: str) -> list[Region]:
    """MVTec: every 8-connected region is one defect, saturated by its whole area."""
    labels, count = ndimage.label(values > 0, structure=np.ones((3, 3), dtype=int))
    if count == 0:
        raise InputError(
            f"{path}: found no pixel above 0; the mask of a defective image is not empty"
        )
    masks = [labels == number for number in range(1, count + 1)]
    return [Region(mask, defect_type, int(mask.sum())) for mask in masks]


def _read_mask(path: Path) -> NDArray[np.uint8]:
    """Grey values of a mask (AutoVI's are RGB or RGBA with equal colours)."""
    try:
        with Image.open(path) as image:
            palette = {"1": "L", "P": "RGB"}.get(image.mode)
            array = np.asarray(image.convert(palette) if palette else image)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if array.dtype != np.uint8:
        raise InputError(f"{path}: found {array.dtype} pixels; expected an 8-bit mask")
    if array.ndim == 2:
        return array
    grey = array[..., 0]
    if array.shape[2] >= 3 and (array[..., 1:3] != grey[..., None]).any():
        raise InputError(f"{path}: found colours; expected a mask of one grey value")
    return grey
