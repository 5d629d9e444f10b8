"""The image score that an image would have without the rows of one owner, for every owner."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore.image_score import Evidence, ImageScore, reweighted


def scores_without(
    evidence: Evidence,
    score: float,
    by: ImageScore,
    owners: int,
    smoothing: tuple[float, float],
) -> NDArray[np.float64]:
    """Score one image as if the bank had not the rows of one of its owners.

    Parameters
    ----------
    evidence : Evidence
        With `owners` and `without`: of two owners at least.
    score : float
        With all rows.
    by : callable (Evidence) -> float
        The image score. Of `reweighted` the largest patch distance stands for it, in proportion:
        which rows lie around the nearest one without an owner is not known.
    owners : int
        Owners of the bank.
    smoothing : (sigma of rows, sigma of columns)
        Of the map, in pixels of the image file.

    Returns
    -------
    array of shape (owners,), float64
        Never below `score`: without rows no patch comes nearer. Exactly `score` for an owner whose
        rows are nearest to none of the image's patches.

    Notes
    -----
    The map is linear in the patch distances along each axis, so that a product of two matrices
    gives it, within float32's rounding, for a tenth of what drawing it takes. Memory: one more map.
    """
    if evidence.owners is None or evidence.without is None:
        raise ValueError("the evidence does not say whose rows are nearest")
    found = np.full(owners, score)
    for owner in np.unique(evidence.owners):
        own = evidence.owners == owner
        grid = np.where(own, evidence.without, evidence.patch_distances)
        if by is reweighted:
            farthest = float(evidence.patch_distances.max())
            raised = float(grid.max())
            found[owner] = score * (raised / farthest) if farthest > 0 else raised
        else:
            drawn = _drawn(grid.astype(np.float32), evidence.anomaly_map.shape, smoothing)
            found[owner] = by(replace(evidence, anomaly_map=drawn, patch_distances=grid))
    return np.maximum(found, score)


def _drawn(
    grid: NDArray[np.float32], size: tuple[int, ...], smoothing: tuple[float, float]
) -> NDArray[np.float32]:
    """What `render_map` draws of a grid, within rounding."""
    tall, wide = (
        _axis(patches, pixels, sigma)
        for patches, pixels, sigma in zip(grid.shape, size, smoothing, strict=True)
    )
    return np.asarray(tall @ grid @ wide.T, dtype=np.float32)


@lru_cache(maxsize=8)
def _axis(patches: int, pixels: int, sigma: float) -> NDArray[np.float32]:
    """Matrix (pixels, patches) that enlarges one axis bilinearly and smooths it."""
    from scipy import ndimage

    each = torch.eye(patches, dtype=torch.float64)[None]
    large = torch.nn.functional.interpolate(each, size=pixels, mode="linear", align_corners=False)
    smooth = ndimage.gaussian_filter1d(large[0].numpy().T, sigma, axis=0, mode="reflect")
    matrix: NDArray[np.float32] = smooth.astype(np.float32)
    return matrix
