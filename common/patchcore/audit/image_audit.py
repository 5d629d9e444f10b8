"""Which good images look unlike all the others: before a bank is built of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from common.patchcore.coreset import select_coreset
from common.patchcore.distances import Distances
from common.patchcore.local_bank import project_all
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput

FEWEST_IMAGES: Final = 8
"""Of fewer images the middle and the spread say too little: nothing is flagged."""
REACH: Final = 3.5
"""In robust standard deviations above the median (Iglewicz and Hoaglin's limit). At 1.5, which is
published for PatchCore references, every eighth good bottle is flagged, and no more bad ones; see
benchmarks/CONTAMINATED.md."""
_ROWS_PER_IMAGE: Final = 20
_MOST_ROWS: Final = 4000
_MAD: Final = 1.4826
"""Makes the median absolute deviation the standard deviation of a normal law."""
_BLOCK: Final = 2**22


@dataclass(frozen=True)
class ImageAudit:
    """How far each image lies from all the others.

    Attributes
    ----------
    distances : array of shape (n,), float64
        Of each image's farthest patch from the other images' patches: Euclidean, in the space in
        which coresets are chosen.
    limit : float or None
        Above it an image is suspicious. None of fewer than 8 images, or where half of them lie
        equally far: it cannot be told then.
    """

    distances: NDArray[np.float64]
    limit: float | None

    @property
    def suspicious(self) -> NDArray[np.bool_]:
        """Which of the images lie above the limit."""
        if self.limit is None:
            return np.zeros(len(self.distances), dtype=bool)
        return self.distances > self.limit


def audit_images(
    source: FeatureSource,
    images: Sequence[ImageInput],
    distances: Distances,
    dtype: DTypeLike = np.float16,
) -> ImageAudit:
    """Measure how far each image's farthest patch lies from the other images' patches.

    Parameters
    ----------
    source : FeatureSource
        With a cache no image is computed twice, here or when the bank is built.
    images : sequence of ImageInput
        Of one category, said to be good; copies of images do not belong here.
    distances : Distances
        Those of the bank's coreset: then its projections are in the cache, too.
    dtype : float16 or float32
        Number format of the features in the cache.

    Returns
    -------
    ImageAudit

    Raises
    ------
    InputError
        Naming the image that cannot be read.

    Notes
    -----
    What is searched are the rows of a coreset of all images, 20 an image and 4,000 at most, each
    against all rows of other images: exactly, by products in float64. Farthest first takes an
    image's farthest patches early, so an image that has none among the rows lies nearer than the
    coreset's radius, which is what it is booked with.

    Two images with one and the same defect vouch for each other: the more of an image set is
    defective, the less of that is found.

    Memory: the projected patches, 4 bytes x components each, as for the bank.

    References
    ----------
    Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993 (3.5 robust deviations).
    """
    if len(images) < 2:
        return ImageAudit(np.zeros(len(images)), None)
    patches, counts = project_all(source, images, distances, dtype)
    rows = min(_ROWS_PER_IMAGE * len(images), _MOST_ROWS)
    start = np.random.default_rng(distances.seed)
    chosen = select_coreset(patches, rows, rng=start, device=source.extractor.device)
    owners = np.searchsorted(np.cumsum(counts), chosen.indices, side="right")
    apart = nearest_of_others(patches[chosen.indices], owners)
    found = np.full(len(images), float(chosen.radii[-1]))
    np.maximum.at(found, owners, apart)
    return ImageAudit(found, limit_of(found))


def nearest_of_others(
    rows: NDArray[np.float32], owners: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Distance of each row from the nearest row of another owner.

    Parameters
    ----------
    rows : array of shape (m, d), float32
    owners : array of shape (m,)

    Returns
    -------
    array of shape (m,), float64
        0 where nobody else has a row.
    """
    exact = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    norms = np.einsum("ij,ij->i", exact, exact)
    nearest = np.empty(len(rows))
    step = max(1, _BLOCK // len(rows))
    for begin in range(0, len(rows), step):
        block = slice(begin, begin + step)
        squared = norms[block, None] + norms - 2 * (exact[block] @ exact.T)
        squared[owners[block, None] == owners] = np.inf
        nearest[block] = squared.min(axis=1)
    nearest[~np.isfinite(nearest)] = 0.0
    return np.sqrt(np.maximum(nearest, 0.0))


def limit_of(found: NDArray[np.float64]) -> float | None:
    """Median and 3.5 x 1.4826 x median absolute deviation; None where that cannot tell."""
    if found.size < FEWEST_IMAGES:
        return None
    middle = float(np.median(found))
    spread = _MAD * float(np.median(np.abs(found - middle)))
    return middle + REACH * spread if spread > 0 else None
