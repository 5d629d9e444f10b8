"""One number per image, from its anomaly map or from its patches and the bank."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.config import refused
from common.patchcore.memory_bank import MemoryBank

NEIGHBOURS: Final = 9
"""Bank rows that `reweighted` looks at: b of the paper, which names no number; 9 is customary."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one image when its score is asked for.

    Attributes
    ----------
    anomaly_map : array of shape (H, W), float32
        Euclidean distances at the image's own size, smoothed.
    patch_distances : array of shape (rows, columns), float64
        Of each patch from its nearest row of the bank: neither enlarged nor smoothed.
    nearest : array of shape (rows, columns), int64
        Which row of the bank that is.
    features : array of shape (rows, columns, d), float16 or float32
        The patches themselves.
    bank : MemoryBank
        What they were compared with.
    owners, without : arrays of shape (rows, columns), int64 and float64, optional
        Whose the nearest row is, and the distance of the nearest row of anybody else, where the
        bank knows who brought its rows.
    """

    anomaly_map: NDArray[np.float32]
    patch_distances: NDArray[np.float64]
    nearest: NDArray[np.int64]
    features: NDArray[np.floating]
    bank: MemoryBank
    owners: NDArray[np.int64] | None = None
    without: NDArray[np.float64] | None = None


ImageScore = Callable[[Evidence], float]


def maximum(evidence: Evidence) -> float:
    """Highest value of the anomaly map."""
    return float(evidence.anomaly_map.max())


def reweighted(evidence: Evidence) -> float:
    """Distance of the farthest patch, less where the bank has few rows like its nearest one.

    Parameters
    ----------
    evidence : Evidence

    Returns
    -------
    float
        s = (1 - exp(d*) / sum of exp(d_i)) d*. Here d* is the largest patch distance (of equal
        ones the first, row by row), m* the bank row nearest to that patch, and d_1, ..., d_b are
        the distances from the patch to the b = `NEIGHBOURS` rows of the bank nearest to m*. m* is
        the first of these; a smaller bank gives all its rows. From (1 - 1/b) d* to d*.

    Notes
    -----
    Of the bank one row is searched for, once an image. The exponentials are taken of d_i minus
    their largest, so that none overflows; the quotient is the same. A bank of a single row has no
    neighbourhood to weigh by: the score is d*, where the formula would call every image 0.

    References
    ----------
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, section 3.3,
    equations 6 and 7.
    """
    distances = evidence.patch_distances
    place = np.unravel_index(int(distances.argmax()), distances.shape)
    farthest, rows = float(distances[place]), evidence.bank.rows
    if len(rows) == 1:
        return farthest
    closest = int(evidence.nearest[place])
    _, around = evidence.bank.nearest(rows[closest : closest + 1], min(NEIGHBOURS, len(rows)))
    patch = evidence.features[place].astype(np.float64)
    from_patch = np.sqrt(((rows[around[0]] - patch) ** 2).sum(axis=1))
    shares = np.exp(from_patch - from_patch.max())
    return float((1 - shares[0] / shares.sum()) * farthest)


def percentile(percent: float) -> ImageScore:
    """Return the score that is a percentile of the map, linear between neighbours."""
    return lambda evidence: float(np.percentile(evidence.anomaly_map, percent))


def top(percent: Fraction) -> ImageScore:
    """Return the score that is the mean of the highest pixels of the map.

    Parameters
    ----------
    percent : Fraction
        Above 0, at most 100. Of n pixels, floor(n x percent / 100) are taken (worked out in whole
        numbers), at least one. 100 is the mean of the map.

    Returns
    -------
    callable (Evidence) -> float
        The mean is taken in float64, from the lowest of these pixels to the highest, so that the
        same map gives the same bits everywhere.
    """

    def score(evidence: Evidence) -> float:
        pixels = evidence.anomaly_map.ravel()
        count = max(1, int(pixels.size * percent / 100))
        highest = np.partition(pixels, pixels.size - count)[pixels.size - count :]
        return float(np.sort(highest).mean(dtype=np.float64))

    return score


IMAGE_SCORES: Final[dict[str, ImageScore]] = {"max": maximum, "reweighted": reweighted}
"""Name in the run config -> function of the evidence; beside these there are numbers, which are
percentiles, and `top-P`."""

_TOP: Final = re.compile(r"top-(\d+(?:\.\d+)?)", re.ASCII)


def find_image_score(name: str) -> ImageScore:
    """Look a name of the run config up.

    Parameters
    ----------
    name : str
        A key of `IMAGE_SCORES`; `top-P`, the mean of the highest P percent of the map's pixels,
        such as `"top-1"`; or a percentile of the map such as `"99.5"`.

    Returns
    -------
    callable (Evidence) -> float

    Raises
    ------
    InputError
        If it is none of these.
    """
    if name in IMAGE_SCORES:
        return IMAGE_SCORES[name]
    if name.startswith("top-"):
        found = _TOP.fullmatch(name)
        if found is None or not 0 < (share := Fraction(found[1])) <= 100:
            raise refused("image-score", name, 'top-P with P above 0 and at most 100, as "top-1"')
        return top(share)
    expected = f'{", ".join(IMAGE_SCORES)}, top-P as "top-1" or a percentile as "99.5"'
    try:
        percent = float(name)
    except ValueError:
        raise refused("image-score", name, expected) from None
    if not 0 <= percent <= 100:
        raise refused("image-score", name, "a percentile from 0 to 100")
    return percentile(percent)
