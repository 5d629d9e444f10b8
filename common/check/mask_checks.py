"""Faults of the ground truth's contents: each mask is read as a run reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from common.check.fault_kinds import as_finding
from common.check.findings import Finding, Kind
from common.check.survey import Survey
from common.data.defects import look_at_mask

UNMASKED: Final = Kind(
    "no-masks-at-all",
    "note",
    "defects can be detected and not localized: no AUC-sPRO, no pixel AUROC",
    "nothing to do if there are no masks; else put them into ground_truth/",
)
FULL_MASK: Final = Kind(
    "mask-covers-image",
    "warning",
    "a region as large as the image is found by any map: the mask is more often inverted",
    "look at the mask; invert it if background and defect are exchanged",
)


def no_masks(survey: Survey) -> Iterator[Finding]:
    """Categories with defective images and no ground truth."""
    missed = {fault.path.parent for fault in survey.faults if fault.kind == "missing-ground-truth"}
    for part in survey.parts:
        place = part.category.folder
        if part.category.layout == "no_masks" and part.defective and place not in missed:
            yield UNMASKED.at(place, "defective images and no ground_truth/")


def mask_contents(survey: Survey) -> Iterator[Finding]:
    """Masks of the wrong size or with grey values that mean nothing."""
    for part in survey.parts:
        for path, sample in part.masks.items():
            facts = None if sample is None else survey.facts[sample.path]
            size = facts.size if facts is not None and facts.error is None else None
            values, faults = look_at_mask(path, part.category, sample, size)
            yield from map(as_finding, faults)
            if values.size and values.all():
                yield FULL_MASK.at(path, "every pixel is above 0")
