"""Faults of the ground truth: masks and the table that explains their grey values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.check.findings import Finding, Kind
from common.check.survey import Survey
from common.check.tree import MaskFile, Part, Picture, folders, image_stem, listing
from common.data.defects import DefectsConfig, read_defects_config
from common.data.images import UNREADABLE, unreadable
from common.data.layout import GOOD
from common.errors import InputError

_WHY: Final = "localization is measured against the masks; a wrong one makes every figure wrong"

NO_CONFIG: Final = Kind(
    "missing-defects-config",
    "error",
    "without defects_config.json nobody knows what the grey values of the masks mean",
    "restore the file from where the data set came from",
)
BAD_CONFIG: Final = Kind(
    "bad-defects-config",
    "error",
    "the grey values and saturation areas of all masks are read from it",
    "mend the entry: defect_name, pixel_value 1 to 255, saturation_threshold above 0, "
    "relative_saturation true or false",
)
NO_TRUTH: Final = Kind(
    "missing-ground-truth",
    "error",
    "defects_config.json describes masks, and there are none",
    "restore ground_truth/",
)
UNMASKED: Final = Kind(
    "no-masks-at-all",
    "note",
    "defects can be detected and not localized: no AUC-sPRO, no pixel AUROC",
    "nothing to do if there are no masks; else put them into ground_truth/",
)
MIXED_LAYOUTS: Final = Kind(
    "mixed-layouts",
    "error",
    "AutoVI's masks lie in one folder an image, MVTec's are files named <stem>_mask.png; a "
    "category uses one of the two",
    "bring all masks of the category into one layout",
)
NO_MASK: Final = Kind(
    "missing-mask",
    "error",
    "a defective image without its mask cannot be evaluated",
    "restore the mask, or remove the image",
)
ORPHAN: Final = Kind(
    "orphaned-mask",
    "error",
    "ground truth that belongs to no image is a lost image or a wrong name",
    "restore the image, or rename or remove the ground truth",
)
UNREADABLE_MASK: Final = Kind(
    "unreadable-mask", "error", _WHY, "restore the file from where it came from"
)
MASK_SIZE: Final = Kind("mask-size", "error", _WHY, "make the mask anew at the image's own size")
MASK_VALUE: Final = Kind(
    "unknown-mask-value",
    "error",
    "the grey value of a mask says which defect it is; this one says nothing",
    "correct the mask, or add the value to defects_config.json",
)
MASK_VALUES: Final = Kind(
    "several-mask-values",
    "error",
    "one mask file is one region of one defect, with a single grey value",
    "write one file for each region; smoothing or JPEG compression may have made new values",
)
EMPTY_MASK: Final = Kind(
    "empty-mask", "error", "the image is called defective, and no pixel of it is", "draw the region"
)
FULL_MASK: Final = Kind(
    "mask-covers-image",
    "warning",
    "a region as large as the image is found by any map: the mask is more often inverted",
    "look at the mask; invert it if background and defect are exchanged",
)


def defect_tables(survey: Survey) -> Iterator[Finding]:
    """`defects_config.json`: missing, unusable, or without masks to explain."""
    for part in survey.parts:
        defective = any(p.split == "test" and not p.good for p in part.pictures)
        if not part.truth.is_dir():
            if part.config.is_file() and defective:
                yield NO_TRUTH.at(part.truth, "no ground_truth/ beside defects_config.json")
            elif defective:
                yield UNMASKED.at(part.place, "defective images and no ground_truth/")
        if not part.config.is_file():
            if part.autovi:
                yield NO_CONFIG.at(part.config, "no such file")
            continue
        _, problems = _read_config(part)
        for problem in problems:
            yield BAD_CONFIG.at(part.config, problem)


def mixed_layouts(survey: Survey) -> Iterator[Finding]:
    """Mask files beside folders of mask files."""
    for part in survey.parts:
        entries = [entry for defect in folders(part.truth) for entry in listing(defect)]
        files = [entry for entry in entries if entry.is_file()]
        if files and len(files) < len(entries):
            yield MIXED_LAYOUTS.at(
                part.truth, f"{len(entries) - len(files)} folders and {len(files)} files of masks"
            )


def missing_masks(survey: Survey) -> Iterator[Finding]:
    """Defective test images whose ground truth is not there."""
    for part in survey.parts:
        if not part.truth.is_dir():
            continue
        known = {(mask.defect, mask.stem) for mask in part.masks}
        for picture in _defective(part):
            if (picture.defect, picture.path.stem) not in known:
                place = part.truth / picture.defect / picture.path.stem
                expected = f"{place}/0000.png" if part.autovi else f"{place}_mask.png"
                yield NO_MASK.at(picture.path, f"a defective image without {expected}")


def orphaned_masks(survey: Survey) -> Iterator[Finding]:
    """Ground truth of images that are not there."""
    for part in survey.parts:
        known = {(picture.defect, picture.path.stem) for picture in _defective(part)}
        for defect in folders(part.truth):
            for entry in listing(defect):
                if (defect.name, image_stem(entry)) not in known:
                    what = "of good parts" if defect.name.lower() == GOOD else "of no image"
                    yield ORPHAN.at(
                        entry, f"ground truth {what} in {part.place / 'test' / defect.name}"
                    )


def mask_contents(survey: Survey) -> Iterator[Finding]:
    """Masks of the wrong size or with grey values that mean nothing."""
    for part in survey.parts:
        sizes = {
            (picture.defect, picture.path.stem): survey.facts[picture.path].size
            for picture in _defective(part)
            if survey.facts[picture.path].error is None
        }
        config, _ = _read_config(part) if part.autovi else (None, [])
        for mask in part.masks:
            yield from _look_at(mask, sizes.get((mask.defect, mask.stem)), config, part.autovi)


def _look_at(
    mask: MaskFile, size: tuple[int, int] | None, config: DefectsConfig | None, autovi: bool
) -> Iterator[Finding]:
    try:
        values = _grey_values(mask)
    except InputError as error:
        reason = str(error).removeprefix(f"{mask.path}: found ").partition("; expected")[0]
        yield UNREADABLE_MASK.at(mask.path, reason)
        return
    if size is not None and values.shape[:2] != size:
        yield MASK_SIZE.at(
            mask.path,
            f"{values.shape[1]}x{values.shape[0]} pixels; its image has {size[1]}x{size[0]} "
            "(width x height)",
        )
    if values.ndim == 3:
        yield MASK_VALUES.at(mask.path, "colours; expected grey values")
        return
    found = np.unique(values[values > 0]).tolist()
    if not found:
        yield EMPTY_MASK.at(mask.path, "no pixel above 0")
    elif autovi and len(found) > 1:
        yield MASK_VALUES.at(mask.path, f"{len(found)} grey values: {found[:5]}")
    elif config and found[0] not in config:
        yield MASK_VALUE.at(mask.path, f"grey value {found[0]}; the table knows {sorted(config)}")
    if found and (values > 0).all():
        yield FULL_MASK.at(mask.path, "every pixel is above 0")


def _grey_values(mask: MaskFile) -> NDArray[np.integer]:
    """(H, W), or (H, W, 3) if the file holds colours."""
    try:
        with Image.open(mask.path) as image:
            palette = {"1": "L", "P": "RGB"}.get(image.mode)
            array = np.asarray(image.convert(palette) if palette else image)
    except UNREADABLE as error:
        raise unreadable(mask.path, error) from error
    if array.dtype != np.uint8:
        raise InputError(f"{mask.path}: found {array.dtype} pixels; expected an 8-bit mask")
    if array.ndim == 2:
        return array
    coloured = array.shape[2] >= 3 and (array[..., 1:3] != array[..., :1]).any()
    return array[..., :3] if coloured else array[..., 0]


def _read_config(part: Part) -> tuple[DefectsConfig | None, list[str]]:
    """The usable table, or all that is wrong with it."""
    if not part.config.is_file():
        return None, []
    try:
        return read_defects_config(part.config), []
    except InputError as error:
        return None, [str(error).removeprefix(f"{part.config}: ")]
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        return None, [f"{type(error).__name__}: {error}"]


def _defective(part: Part) -> Iterator[Picture]:
    return (p for p in part.pictures if p.split == "test" and not p.good)
