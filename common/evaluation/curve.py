"""The FPR-sPRO curve: its area up to a limit, the bound on that area, and a thinned copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FPR_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
"""Integration limits of AUC-sPRO."""

ROUNDING = 1e-12
"""Added to every error bound: what float64 sums may lose."""


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


def auc_spro(levels: Levels, limit: float) -> float:
    """Area under the FPR-sPRO curve from 0 to `limit`, divided by `limit`.

    Parameters
    ----------
    levels : Levels
        With at least one normal pixel and one region.
    limit : float
        The FPR at which to stop, above 0 and at most 1.

    Returns
    -------
    float
        Between 0 and 1. The curve joins the points of all thresholds by straight lines and is
        interpolated at the limit.

    Notes
    -----
    Lowering the threshold past a level moves the curve from FPR `above` to FPR `up_to` while the
    mean sPRO rises by `rise`. The curve is the sum of these ramps, so its area is the sum of
    theirs: O(m), and equal to the trapezoid rule over every distinct threshold.

    References
    ----------
    Bergmann et al., "Beyond Dents and Scratches", IJCV 2022, section 5 (AU-sPRO).
    """
    start, end = _fpr(levels)
    width = end - start
    climbed = np.clip(limit - start, 0.0, width)
    ramp = np.divide(climbed * climbed, 2 * width, out=np.zeros_like(width), where=width > 0)
    area = levels.rise * (ramp + np.clip(limit - end, 0.0, None))
    return float(area.sum() / limit)


def auc_spro_bound(levels: Levels, limit: float) -> float:
    """How far `auc_spro` can lie from the area with exact scores, when levels are bins.

    A pixel of a bin rises somewhere between the FPR just above the bin and the FPR at its lower
    edge, whatever the order of the scores within. Letting all of them rise at the one end or at
    the other gives the largest and the smallest area that the counts allow; how many pixels of a
    region count towards its saturation is known for every bin, so nothing else is uncertain.
    """
    start, end = _fpr(levels)
    largest = float((levels.rise * np.clip(limit - start, 0.0, None)).sum() / limit)
    smallest = float((levels.rise * np.clip(limit - end, 0.0, None)).sum() / limit)
    area = auc_spro(levels, limit)
    return max(largest - area, area - smallest) + ROUNDING


def pixel_auc_roc(levels: Levels) -> float:
    """Area under the ROC curve of all pixels: those in any region against the rest.

    Needs at least one normal and one anomalous pixel. A pair in one level counts one half.
    """
    total = levels.normal_pixels
    lower = total - (levels.above + levels.up_to).astype(np.float64) / 2
    pairs = float((levels.anomalous * lower).sum())
    return pairs / total / int(levels.anomalous.sum())


def pixel_auc_roc_bound(levels: Levels) -> float:
    """How far `pixel_auc_roc` can be from the value with exact scores: half of the tied pairs."""
    tied = float((levels.anomalous * (levels.up_to - levels.above).astype(np.float64)).sum())
    return tied / 2 / levels.normal_pixels / int(levels.anomalous.sum()) + ROUNDING


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
        From (0, 0 or the sPRO reached before the first false positive) to FPR 1.

    Notes
    -----
    Corners are chosen at equal steps of sPRO plus square root of FPR, because the part at low
    FPR is what one looks at. Every corner lies on the full curve.
    """
    start, end = _fpr(levels)
    height = np.minimum(np.cumsum(levels.rise), 1.0)
    final = height[-1] if height.size else 0.0
    fpr = np.concatenate([[0.0], np.stack([start, end], axis=1).ravel(), [1.0]])
    before = np.concatenate([[0.0], height[:-1]]) if height.size else height
    spro = np.concatenate([[0.0], np.stack([before, height], axis=1).ravel(), [final]])
    if fpr.size > max_points:
        position = np.sqrt(fpr) + spro
        wanted = np.linspace(0.0, position[-1], max_points)
        keep = np.unique(np.searchsorted(position, wanted))
        keep = np.union1d(np.minimum(keep, fpr.size - 1), [0, fpr.size - 1])
    else:
        keep = np.arange(fpr.size)
    at_limits = [_height_at(fpr, spro, limit) for limit in FPR_LIMITS]
    all_fpr = np.concatenate([fpr[keep], FPR_LIMITS])
    all_spro = np.concatenate([spro[keep], at_limits])
    order = np.lexsort((all_spro, all_fpr))
    points = np.stack([all_fpr[order], all_spro[order]], axis=1)
    new = np.concatenate([[True], (np.diff(points, axis=0) != 0).any(axis=1)])
    return Curve(points[new, 0], points[new, 1])


def _fpr(levels: Levels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False positive rates at the start and at the end of every level's ramp."""
    return levels.above / levels.normal_pixels, levels.up_to / levels.normal_pixels


def _height_at(fpr: NDArray[np.float64], spro: NDArray[np.float64], limit: float) -> float:
    """Mean sPRO at `limit`; the upper end where the curve is vertical."""
    right = int(np.searchsorted(fpr, limit, side="right"))
    if right == fpr.size:
        return float(spro[-1])
    left = right - 1
    share = (limit - fpr[left]) / (fpr[right] - fpr[left])
    return float(spro[left] + share * (spro[right] - spro[left]))
