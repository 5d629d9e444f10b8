"""Faults of the ground truth's contents: each mask is read as a run reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.check.fault_kinds import as_finding
from common.check.findings import Finding, Kind
from common.check.mask_shapes import MaskShape, describe_mask
from common.check.survey import Survey
from common.data.defects import look_at_mask
from common.data.fault import Fault, FaultKind
from common.data.remarks import is_turned_apart, orientations
from common.evaluation.defect_sizes import DefectSize, small_defects
from common.patchcore.network.architectures import planned_grid

UNMASKED: Final = Kind(
    "no-masks-at-all",
    "note",
    "defects can be detected and not localized: no AUC-sPRO, no pixel AUROC",
    "nothing to do if there are no masks; else put them into ground_truth/",
)
SMOOTHED: Final = Kind(
    "mask-smoothed",
    "warning",
    "soft edges and JPEG compression leave grey values around a defect, and every pixel above 0 "
    "counts: regions grow, run together or fall into many",
    "save the mask anew as PNG with two values: 0, and 255 where the defect is",
)
LEVELS: Final = Kind(
    "mask-levels",
    "warning",
    "in this layout all values above 0 mean the same: regions of different values that touch are "
    "one defect, and what the values were to tell is lost",
    "save a mask with two values, or use the AutoVI layout: one file a region, and "
    "defects_config.json",
)
INVERTED: Final = Kind(
    "mask-inverted",
    "warning",
    "the rim of the image is marked and its middle is not: defect and background are exchanged",
    "look at the mask, and invert it",
)
COVERED: Final = Kind(
    "mask-covers-image",
    "warning",
    "a region that is most of the image is found by any map: the mask is more often wrong",
    "look at the mask; mark the defect alone",
)
COVERED_NOTE: Final = Kind(COVERED.name, "note", COVERED.why, COVERED.mend)
SPECKS: Final = Kind(
    "mask-specks",
    "warning",
    "every region counts alike: one of a few pixels as much as the defect itself, and hardly any "
    "map finds it",
    "look at the mask; erase what is no defect",
)
MARKED_GOOD: Final = Kind(
    "mask-of-good-image",
    "warning",
    "the image is called good, and its mask marks a defect; no run reads that mask",
    "move the image and its mask to the folders of the defect, or remove the mask",
)
TURNED: Final = Kind(
    "turned-image",
    "warning",
    "an image is turned as its EXIF orientation says; a mask that was drawn before the turn then "
    "lies over the wrong pixels, and every figure of its category is wrong",
    "look at both; save image and mask upright, without an orientation",
)
TURNED_NOTE: Final = Kind(TURNED.name, "note", TURNED.why, TURNED.mend)
BELOW_PATCH: Final = Kind(
    "defects-below-patch",
    "warning",
    "a patch is judged as a whole: of a defect that fills a part of one, little is left, and its "
    "place is known no better than to a patch",
    "use a larger image-size",
)
# Where the images' own size is used already, nothing is wrong with folder or settings.
BELOW_PATCH_NOTE: Final = Kind(BELOW_PATCH.name, "note", BELOW_PATCH.why, BELOW_PATCH.mend)
_MOST, _NEARLY_ALL = 0.5, 0.75
_OF_THE_FILE: Final[tuple[FaultKind, ...]] = ("unreadable-mask", "mask-size")


def no_masks(survey: Survey) -> Iterator[Finding]:
    """Categories with defective images and no ground truth."""
    missed = {fault.path.parent for fault in survey.faults if fault.kind == "missing-ground-truth"}
    for part in survey.parts:
        place = part.category.folder
        if part.category.layout == "no_masks" and part.defective and place not in missed:
            yield UNMASKED.at(place, "defective images and no ground_truth/")


def mask_contents(survey: Survey) -> Iterator[Finding]:
    """Masks that no run reads, and masks that no defect looks like."""
    settings = survey.options.settings
    for part in survey.parts:
        sizes: list[DefectSize] = []
        for path, sample in part.masks.items():
            facts = None if sample is None else survey.facts[sample.path]
            size = facts.size if facts is not None and facts.error is None else None
            values, faults = look_at_mask(path, part.category, sample, size)
            if sample is not None and not sample.label:
                yield from _of_good_image(path, values, faults)
                continue
            yield from map(as_finding, faults)
            if values.any() and not any(fault.kind == "several-mask-values" for fault in faults):
                shape = describe_mask(values, part.category.layout == "mvtec")
                sizes += shape.sizes
                yield from _implausible(path, shape)
        small = small_defects(sizes, planned_grid(settings)[0], settings.image_size)
        if small is not None:
            kind = BELOW_PATCH if small.own_size_helps else BELOW_PATCH_NOTE
            yield kind.at(part.category.folder, small.found, small.mend)


def _of_good_image(path: Path, values: NDArray[np.uint8], faults: list[Fault]) -> Iterator[Finding]:
    """No run reads these: an empty one is as good as none."""
    yield from (as_finding(fault, "warning") for fault in faults if fault.kind in _OF_THE_FILE)
    if values.any():
        yield MARKED_GOOD.at(path, f"{np.count_nonzero(values)} pixels above 0")


def _implausible(path: Path, mask: MaskShape) -> Iterator[Finding]:
    if mask.graded:
        text = f"{mask.levels} grey values above 0: {mask.reading}"
        yield SMOOTHED.at(path, f"{text}; above half of the largest value there are {mask.halved}")
    elif mask.levels > 1:
        yield LEVELS.at(path, f"{mask.levels} grey values above 0: {mask.reading}")
    elif mask.specks:
        yield SPECKS.at(path, f"{mask.specks} regions of a few pixels: {mask.reading}")
    if mask.inverted:
        yield INVERTED.at(path, f"marked all around: {mask.reading}")
    elif mask.share > _MOST:
        kind = COVERED if mask.share > _NEARLY_ALL else COVERED_NOTE
        yield kind.at(path, f"mostly marked: {mask.reading}")


def turned_images(survey: Survey) -> Iterator[Finding]:
    """Images with masks of which one or the other carries an EXIF orientation."""
    for part in survey.parts:
        for sample in part.defective:
            own, others, _ = orientations(sample)
            if {own, *others} != {1}:
                masks = ", ".join(map(str, sorted(set(others))))
                kind = TURNED if is_turned_apart(sample) else TURNED_NOTE
                yield kind.at(sample.path, f"EXIF orientation {own}, of its masks {masks}")
