"""The FPR-sPRO curve: its area up to a limit, the bound on that area, and a thinned copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FPR_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
"""Integration limits of AUC-sPRO."""

ROUNDING = 1e-12
"""Added to every error bound: what float64 sums may lose."""

PIECE = 2**16
"""Levels that are summed up at once."""


@dataclass(frozen=True)
class Levels:
    """The scores of anomalous pixels, highest first, and the normal pixels about them.

    A level is one distinct score (exact evaluation) or one bin of scores (merged counts). Levels
    without an anomalous pixel are left out: there the curve only runs on horizontally.

    Attributes
    ----------
    above : array of shape (m,), int64
        Normal pixels with a score above the level.
    up_to : array of shape (m,), int64
        The same and those in the level itself.
    rise : array of shape (m,), float64
        By how much the mean sPRO grows when the threshold falls below the level.
    anomalous : array of shape (m,), int64
        Anomalous pixels in the level, each pixel once however many regions hold it.
    normal_pixels, regions : int
        Totals. The curve needs at least one of each.
    """

    above: NDArray[np.int64]
    up_to: NDArray[np.int64]
    rise: NDArray[np.float64]
    anomalous: NDArray[np.int64]
    normal_pixels: int
    regions: int


@dataclass(frozen=True)
class Curve:
    """Points of an FPR-sPRO curve, both coordinates never falling, from FPR 0 to FPR 1."""

    fpr: NDArray[np.float64]
    mean_spro: NDArray[np.float64]


def auc_spro(levels: Levels, limits: Sequence[float] = FPR_LIMITS) -> dict[float, float]:
    """Area under the FPR-sPRO curve from 0 to each limit, divided by the limit.

    Parameters
    ----------
    levels : Levels
        With at least one normal pixel and one region.
    limits : sequence of float
        FPRs at which to stop, above 0 and at most 1.

    Returns
    -------
    dict of float to float
        By limit, between 0 and 1. The curve joins the points of all thresholds by straight lines
        and is interpolated at the limit.

    Notes
    -----
    Lowering the threshold past a level moves the curve from FPR `above` to FPR `up_to` while the
    mean sPRO rises by `rise`. The curve is the sum of these ramps, so its area is the sum of
    theirs: O(m), and equal to the trapezoid rule over every distinct threshold.

    References
    ----------
    Bergmann et al., "Beyond Dents and Scratches", IJCV 2022, section 5 (AU-sPRO).
    """
    areas = dict.fromkeys(limits, 0.0)
    for start, end, rise, _ in _pieces(levels):
        width = end - start
        # The ramp up to x covers (x - start)^2 / (2 width) of the unit square over it.
        slope = np.divide(rise, 2 * width, out=np.zeros_like(width), where=width > 0)
        for limit in limits:
            climbed = np.clip(limit - start, 0.0, width)
            past = np.clip(limit - end, 0.0, None)
            areas[limit] += float((slope * climbed * climbed + rise * past).sum())
    return {limit: area / limit for limit, area in areas.items()}


def auc_spro_bound(levels: Levels, limits: Sequence[float] = FPR_LIMITS) -> dict[float, float]:
    """How far `auc_spro` can lie from the areas with exact scores, when levels are bins.

    A pixel of a bin rises somewhere between the FPR just above the bin and the FPR at its lower
    edge, whatever the order of the scores within. Letting all of them rise at the one end or at
    the other gives the largest and the smallest area that the counts allow; how many pixels of a
    region count towards its saturation is known for every bin, so nothing else is uncertain.
    """
    bounds = {}
    for limit, area in auc_spro(levels, limits).items():
        largest = smallest = 0.0
        for start, end, rise, _ in _pieces(levels):
            largest += float((rise * np.clip(limit - start, 0.0, None)).sum())
            smallest += float((rise * np.clip(limit - end, 0.0, None)).sum())
        bounds[limit] = max(largest / limit - area, area - smallest / limit) + ROUNDING
    return bounds


def pixel_auc_roc(levels: Levels) -> float:
    """Area under the ROC curve of all pixels: those in any region against the rest.

    Needs at least one normal and one anomalous pixel. A pair in one level counts one half.
    """
    pairs = 0.0
    anomalous = 0
    for start, end, _, pixels in _pieces(levels):
        pairs += float((pixels * (1 - (start + end) / 2)).sum())
        anomalous += int(pixels.sum())
    return pairs / anomalous


def pixel_auc_roc_bound(levels: Levels) -> float:
    """How far `pixel_auc_roc` can be from the value with exact scores: half of the tied pairs."""
    tied = 0.0
    anomalous = 0
    for start, end, _, pixels in _pieces(levels):
        tied += float((pixels * (end - start)).sum())
        anomalous += int(pixels.sum())
    return tied / 2 / anomalous + ROUNDING


def fpr_spro_curve(levels: Levels, max_points: int = 400) -> Curve:
    """Choose the corners that draw the curve, and the points at the FPR limits.

    Parameters
    ----------
    levels : Levels
        With at least one normal pixel and one region.
    max_points : int
        Corners to keep at most, at least 2; the limits come on top.

    Returns
    -------
    Curve
        From (0, 0) to FPR 1.

    Notes
    -----
    Corners are chosen at equal steps of sPRO plus square root of FPR, because the part at low
    FPR is what one looks at. Every point lies on the full curve.
    """
    height = np.minimum(np.cumsum(levels.rise), 1.0)
    final = float(height[-1]) if height.size else 0.0
    if 2 * height.size > max_points:
        position = height.copy()
        for piece in _slices(height.size):
            position[piece] += np.sqrt(levels.up_to[piece] / levels.normal_pixels)
        wanted = np.linspace(0.0, position[-1], max_points // 2)
        chosen = np.unique(np.minimum(np.searchsorted(position, wanted), height.size - 1))
    else:
        chosen = np.arange(height.size)
    before = np.where(chosen > 0, height[chosen - 1], 0.0) if height.size else height
    corners = [
        (levels.above[chosen] / levels.normal_pixels, before),
        (levels.up_to[chosen] / levels.normal_pixels, height[chosen]),
        (np.array(FPR_LIMITS), np.array([_height_at(levels, height, at) for at in FPR_LIMITS])),
        (np.array([0.0, 1.0]), np.array([0.0, final])),
    ]
    fpr, spro = (np.concatenate(part) for part in zip(*corners, strict=True))
    order = np.lexsort((spro, fpr))
    points = np.stack([fpr[order], spro[order]], axis=1)
    new = np.concatenate([[True], (np.diff(points, axis=0) != 0).any(axis=1)])
    return Curve(points[new, 0], points[new, 1])


def _slices(size: int) -> Iterator[slice]:
    """Pieces of a long array: sums over them need no temporary of its length."""
    for start in range(0, size, PIECE):
        yield slice(start, start + PIECE)


def _pieces(
    levels: Levels,
) -> Iterator[
    tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
]:
    """Piece by piece: the FPR where each ramp starts and ends, its rise, its anomalous pixels."""
    for piece in _slices(levels.rise.size):
        yield (
            levels.above[piece] / levels.normal_pixels,
            levels.up_to[piece] / levels.normal_pixels,
            levels.rise[piece],
            levels.anomalous[piece],
        )


def _height_at(levels: Levels, height: NDArray[np.float64], limit: float) -> float:
    """Mean sPRO at `limit`; the upper end where the curve is vertical."""
    allowed = limit * levels.normal_pixels
    level = int(np.searchsorted(levels.up_to, int(allowed), side="right"))
    below = float(height[level - 1]) if level else 0.0
    if level == height.size or levels.above[level] >= allowed:
        return below
    start, end = int(levels.above[level]), int(levels.up_to[level])
    return below + (float(height[level]) - below) * (allowed - start) / (end - start)
