"""The list of scored images: what image-level metrics and the counts of images need."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.evaluation.pixels import TypeSet


@dataclass(frozen=True, order=True)
class ImageRecord:
    """One scored image, without a name: nothing here tells which image it was.

    Attributes
    ----------
    label : int
        0 good, 1 defective.
    score : float
        The image score.
    types : TypeSet
        Its defect types; `()` if good.
    has_masks : bool
        False if its data set says nothing about where defects are.
    """

    label: int
    score: float
    types: TypeSet
    has_masks: bool


def image_record(label: int, score: float, types: TypeSet, has_masks: bool) -> ImageRecord:
    """Make a record, refusing a score that is not finite (ValueError)."""
    if not math.isfinite(score):
        raise ValueError(f"an image score is {score}, expected a finite number")
    # 0.0 for -0.0, so that equal scores are equal bytes.
    return ImageRecord(int(label), float(score) + 0.0, types, bool(has_masks))


def select_images(images: list[ImageRecord], types: frozenset[str] | None) -> list[ImageRecord]:
    """The good images and those with one of `types` (all images if None), in canonical order."""
    if types is None:
        return sorted(images)
    return sorted(image for image in images if image.label == 0 or types.intersection(image.types))


def labels_and_scores(
    images: list[ImageRecord],
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Labels (n,) and scores (n,) of the images."""
    labels = np.array([image.label for image in images], dtype=np.int8)
    return labels, np.array([image.score for image in images], dtype=np.float64)
