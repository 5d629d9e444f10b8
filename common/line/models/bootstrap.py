"""Whether one model tells good from defective images worse than another, beyond chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 2000
"""Bootstrap samples; the ends of a 95 % interval rest on 50 of them each."""
FEWEST_IMAGES: Final = 10
"""Fewer good or defective images than this: a bootstrap's interval is too narrow to go by."""
_SEED: Final = 20_170
_BLOCK: Final = 256


@dataclass(frozen=True)
class Difference:
    """Image AUROC of a new model less that of another, on the same images.

    Attributes
    ----------
    value : float
    low, high : float
        Ends of the two-sided interval.
    """

    value: float
    low: float
    high: float


def auroc_difference(
    new: tuple[Sequence[float], Sequence[float]],
    other: tuple[Sequence[float], Sequence[float]],
    confidence: float,
) -> Difference:
    """Compare two models by a paired bootstrap over the images.

    Parameters
    ----------
    new, other : pair of sequences of float
        Scores of the good and of the defective images: the same images in the same order.
    confidence : float
        Of the two-sided percentile interval, as 0.95.

    Returns
    -------
    Difference

    Raises
    ------
    ValueError
        If the two did not judge the same number of images, or of one kind there is none.

    Notes
    -----
    Good and defective images are drawn by themselves, so each sample has as many of each as there
    are, and the AUROC of both models is taken on the same sample: what makes an image hard for both
    cancels. AUROC is the mean, over all pairs of a good and a defective image, of whether the
    defective one scores higher (half for a tie). 2000 draws with a fixed seed: the same scores give
    the same interval. O(draws x pairs) time; memory for one number a pair of images.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    good, defective = _both(new[0], other[0]), _both(new[1], other[1])
    pairs = _pairs(good[0], defective[0]) - _pairs(good[1], defective[1])
    rng = np.random.default_rng(_SEED)
    drawn = []
    for start in range(0, DRAWS, _BLOCK):
        count = min(_BLOCK, DRAWS - start)
        of_defective = _weights(rng, count, len(pairs))
        of_good = _weights(rng, count, pairs.shape[1])
        drawn.append(((of_defective @ pairs) * of_good).sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), (tail, 1 - tail))
    # Sums in another order differ in the last digits; equal models differ by nothing.
    return Difference(float(pairs.mean()), round(float(low), 9), round(float(high), 9))


def _both(
    new: Sequence[float], other: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(new) != len(other) or not len(new):
        raise ValueError(f"scores of {len(new)} and of {len(other)} images; expected as many")
    return np.asarray(new, dtype=np.float64), np.asarray(other, dtype=np.float64)


def _pairs(good: NDArray[np.float64], defective: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where a defective image (row) scores above a good one (column), a half for a tie."""
    above = defective[:, None] > good[None, :]
    return above + 0.5 * (defective[:, None] == good[None, :])


def _weights(rng: np.random.Generator, draws: int, images: int) -> NDArray[np.float64]:
    """How often each image is in each sample, in shares."""
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=draws)
    return drawn.astype(np.float64) / images
