"""The images that a bank and its threshold rest on, and which of them are suspected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from common.config import Settings
from common.data.samples import Sample
from common.errors import InputError
from common.patchcore.audit.image_audit import FEWEST_IMAGES, ImageAudit, audit_images
from common.patchcore.distances import Distances
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput
from common.patchcore.row_format import row_dtype

COUNTS: Final = ("images", "suspicious", "held_out", "suspicious_held_out")


@dataclass(frozen=True)
class CategoryAudit:
    """What the audit of one category found.

    Attributes
    ----------
    images, held_out : int
        Looked at: training images for the bank, and those held out.
    suspicious, suspicious_held_out : list of Sample
        Those of them that look unlike all the others, the farthest first.
    can_tell : bool
        False of fewer than 8 images, or of images that all look alike: then nothing is flagged.
    """

    images: int
    held_out: int
    suspicious: list[Sample] = field(default_factory=list)
    suspicious_held_out: list[Sample] = field(default_factory=list)
    can_tell: bool = True

    def counts(self) -> dict[str, int | bool]:
        """The numbers alone: what leaves a station."""
        return {
            "images": self.images,
            "suspicious": len(self.suspicious),
            "held_out": self.held_out,
            "suspicious_held_out": len(self.suspicious_held_out),
            "can_tell": self.can_tell,
        }


def audit_samples(
    source: FeatureSource, bank: Sequence[Sample], held_out: Sequence[Sample], settings: Settings
) -> dict[str, CategoryAudit]:
    """Look over the good images of one place, each category by itself.

    Parameters
    ----------
    source : FeatureSource
    bank, held_out : sequences of Sample
        Training images for the bank, and those held out for the threshold: they are measured
        together, each against all others.
    settings : Settings
        Of the run: `audit_good`, and how distances are measured. `off` looks at nothing.

    Returns
    -------
    dict of category to CategoryAudit
        A category with an image that cannot be read is not there: whatever needs that image will
        say so.
    """
    found: dict[str, CategoryAudit] = {}
    if settings.audit_good == "off":
        return found
    distances = Distances(settings.coreset_projection, settings.seed)
    dtype = row_dtype(settings.wire_dtype)
    for category in sorted({sample.category for sample in (*bank, *held_out)}):
        own = [sample for sample in bank if sample.category == category]
        kept = [sample for sample in held_out if sample.category == category]
        inputs = [ImageInput(sample.path) for sample in own]
        inputs += [ImageInput(sample.path, judged=True) for sample in kept]
        if len(inputs) < FEWEST_IMAGES:
            found[category] = CategoryAudit(len(own), len(kept), can_tell=False)
            continue
        try:
            audit = source.whole(audit_images, source, inputs, distances, dtype)
        except InputError:
            continue
        found[category] = _divided(audit, own, kept)
    return found


def _divided(audit: ImageAudit, own: Sequence[Sample], kept: Sequence[Sample]) -> CategoryAudit:
    samples = [*own, *kept]
    far = [int(i) for i in np.argsort(-audit.distances, kind="stable") if audit.suspicious[i]]
    return CategoryAudit(
        images=len(own),
        held_out=len(kept),
        suspicious=[samples[i] for i in far if i < len(own)],
        suspicious_held_out=[samples[i] for i in far if i >= len(own)],
        can_tell=audit.limit is not None,
    )


def without_suspicious(
    bank: Sequence[Sample], audits: Mapping[str, CategoryAudit], settings: Settings
) -> list[Sample]:
    """Training images that the bank is built from: with `audit-good=exclude` not the suspicious.

    Parameters
    ----------
    bank : sequence of Sample
    audits : mapping of category to CategoryAudit
    settings : Settings
    """
    if settings.audit_good != "exclude":
        return list(bank)
    out = {str(one.path) for audit in audits.values() for one in audit.suspicious}
    return [sample for sample in bank if str(sample.path) not in out]


def audit_sentences(
    counts: Mapping[str, Mapping[str, Any]], audit_good: str, named: str = ""
) -> list[str]:
    """Say what an audit found, by category; names no file.

    Parameters
    ----------
    counts : mapping of category to the keys of `CategoryAudit.counts`
    audit_good : str
        The setting: whether the suspicious ones are in the bank.
    named : str
        Who names the files, as a clause; empty where the caller does.
    """
    told = []
    for category, own in sorted(counts.items()):
        bad, kept = own["suspicious"], own["suspicious_held_out"]
        if not bad and not kept:
            continue
        where = {
            "exclude": "the bank is built without those of training (audit-good=exclude)",
            "report": "they stay in the bank and in the count (audit-good=report)",
        }[audit_good]
        told.append(
            f"{category}: {bad} of {own['images']} training images and {kept} of "
            f"{own['held_out']} held-out ones look unlike all the others; "
            f"{where}{f'; {named}' if named else ''}"
        )
    return told


def names_below(root: Path, samples: Sequence[Sample]) -> list[str]:
    """Files as a reader of the data folder knows them."""
    return [
        str(one.path.relative_to(root)) if one.path.is_relative_to(root) else str(one.path)
        for one in samples
    ]
