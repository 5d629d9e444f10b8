"""One image's scores, parted into normal pixels, anomalous pixels and regions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.regions import Region

TypeSet = tuple[str, ...]
"""Defect types, sorted, each once; `()` is a good image."""


@dataclass(frozen=True)
class RegionScores:
    """Scores of one region's pixels (k,), float32, in no particular order."""

    defect_type: str
    saturation_area: int
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class ImagePixels:
    """What one image adds to an evaluation.

    Attributes
    ----------
    types : TypeSet
        The types of its regions; without regions its folder's type, or none if it is good.
    scores : array of shape (H, W), float32
        The whole map, not copied.
    outside : array of shape (H, W), bool, or None
        Normal pixels: those outside every region. None if all are.
    anomalous : dict of TypeSet to array, float32
        Scores inside, each pixel once, by the types of all regions that hold the pixel.
    regions : list of RegionScores
        Overlapping regions each hold their common pixels.
    """

    types: TypeSet
    scores: NDArray[np.float32]
    outside: NDArray[np.bool_] | None
    anomalous: dict[TypeSet, NDArray[np.float32]]
    regions: list[RegionScores]

    @property
    def normal(self) -> NDArray[np.float32]:
        """Scores of the normal pixels (n,), float32."""
        return self.scores.ravel() if self.outside is None else self.scores[self.outside]


def image_types(regions: Sequence[Region] | None, label: int, defect_type: str) -> TypeSet:
    """Defect types that an image counts for.

    Parameters
    ----------
    regions : sequence of Region or None
        None if nothing is known about where the defects are.
    label : int
        0 good, 1 defective.
    defect_type : str
        Name of the folder the image lies in; used for a defective image without regions.

    Raises
    ------
    ValueError
        If the label is neither 0 nor 1, a good image has regions, or a defective one no type.
    """
    if label not in (0, 1):
        raise ValueError(f"label is {label!r}, expected 0 (good) or 1 (defective)")
    if label == 0:
        if regions:
            raise ValueError(f"an image labelled good has {len(regions)} defect regions")
        return ()
    types = {region.defect_type for region in regions} if regions else {defect_type}
    if not all(isinstance(name, str) and name for name in types):
        raise ValueError("a defective image has a region or folder without a defect type")
    return tuple(sorted(types))


def checked_map(anomaly_map: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
    """The map as float32, not copied if it is that already.

    Raises
    ------
    ValueError
        If it is not two-dimensional, is empty, or holds a value that is not finite.

    Notes
    -----
    Scores are compared as float32 everywhere, so the exact and the merged evaluation see the same
    ties; float64 input is rounded.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scores = np.asarray(anomaly_map).astype(np.float32, copy=False)
        if scores.ndim != 2 or scores.size == 0:
            raise ValueError(f"an anomaly map has shape {scores.shape}, expected (height, width)")
        # A sum is finite only if every term is. It may also overflow: then each term is looked at.
        if not np.isfinite(scores.sum()) and not np.isfinite(scores).all():
            raise ValueError("an anomaly map holds a value that is not finite")
    return scores


def split_pixels(
    scores: NDArray[np.float32], regions: Sequence[Region], types: TypeSet
) -> ImagePixels:
    """Part the scores of an image by its regions.

    Parameters
    ----------
    scores : array of shape (H, W), float32
        From `checked_map`.
    regions : sequence of Region
        Masks of shape (H, W); they may overlap.
    types : TypeSet
        From `image_types`.

    Raises
    ------
    ValueError
        If a mask has another shape than the map, no pixel, or a saturation area below 1.
    """
    if not regions:
        return ImagePixels(types, scores, None, {}, [])
    region_scores = []
    type_masks: dict[str, NDArray[np.bool_]] = {}
    for region in regions:
        mask = np.asarray(region.mask, dtype=np.bool_)
        if mask.shape != scores.shape:
            raise ValueError(f"a mask has shape {mask.shape} and its anomaly map {scores.shape}")
        inside = scores[mask]
        if inside.size == 0:
            raise ValueError(f"a region of type {region.defect_type!r} has no pixel")
        if region.saturation_area < 1:
            raise ValueError(f"a saturation area is {region.saturation_area}, expected at least 1")
        region_scores.append(RegionScores(region.defect_type, int(region.saturation_area), inside))
        known = type_masks.get(region.defect_type)
        type_masks[region.defect_type] = mask if known is None else known | mask
    anomalous_mask = functools.reduce(np.logical_or, type_masks.values())
    return ImagePixels(
        types,
        scores,
        ~anomalous_mask,
        _by_types(scores[anomalous_mask], anomalous_mask, type_masks),
        region_scores,
    )


def _by_types(
    scores: NDArray[np.float32],
    anomalous_mask: NDArray[np.bool_],
    type_masks: dict[str, NDArray[np.bool_]],
) -> dict[TypeSet, NDArray[np.float32]]:
    """Scores of the anomalous pixels, keyed by the types that lie on each of them."""
    if len(type_masks) == 1:
        return {tuple(type_masks): scores}
    groups: dict[TypeSet, NDArray[np.intp]] = {(): np.arange(scores.size)}
    for name in sorted(type_masks):
        held = type_masks[name][anomalous_mask]
        split: dict[TypeSet, NDArray[np.intp]] = {}
        for types, pixels in groups.items():
            on = held[pixels]
            split[types], split[(*types, name)] = pixels[~on], pixels[on]
        groups = {types: pixels for types, pixels in split.items() if pixels.size}
    return {types: scores[pixels] for types, pixels in groups.items()}
