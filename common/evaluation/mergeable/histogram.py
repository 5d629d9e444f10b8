"""Counts of scores in fixed bins: the ordered bit pattern of float32, truncated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BIN_BITS = 20
"""Leading bits of a score that name its bin: sign, 8 of exponent, 11 of mantissa.

Two scores share a bin only if they differ by less than one part in 2,048.
"""


@dataclass(frozen=True)
class Histogram:
    """A sparse histogram.

    Attributes
    ----------
    bins : array of shape (m,), uint32
        Bins in use, ascending; a higher bin holds higher scores.
    counts : array of shape (m,), int64
        Pixels in each, at least 1.
    """

    bins: NDArray[np.uint32]
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """Pixels in all bins."""
        return int(self.counts.sum())


EMPTY = Histogram(np.empty(0, np.uint32), np.empty(0, np.int64))


def score_bins(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Bin of every score.

    Parameters
    ----------
    scores : array of any shape, float32
        Finite, negative or not.

    Returns
    -------
    array of the same shape, uint32
        Below 2 ** BIN_BITS and never falling as the score grows, because the bit patterns of
        positive floats are ordered as integers; those of negative floats run backwards.
    """
    # Adding 0.0 turns -0.0, which equals 0.0 but has another bit pattern, into 0.0.
    bits = (np.ascontiguousarray(scores) + np.float32(0.0)).view(np.uint32)
    sign = np.uint32(0x80000000)
    if bits.size and bits.max() < sign:
        ordered = bits | sign
    else:
        ordered = np.where(bits < sign, bits | sign, ~bits)
    return ordered >> np.uint32(32 - BIN_BITS)


def count_scores(scores: NDArray[np.float32]) -> Histogram:
    """Histogram of some scores; memory grows with the span of bins, at most 2 ** BIN_BITS."""
    if scores.size == 0:
        return EMPTY
    bins = score_bins(scores.ravel())
    lowest = bins.min()
    dense = np.bincount(bins - lowest)
    used = np.flatnonzero(dense)
    return Histogram(used.astype(np.uint32) + lowest, dense[used].astype(np.int64))


def add_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """Sum of histograms, the same for any order of them."""
    parts = list(histograms)
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return EMPTY
    bins, where = np.unique(np.concatenate([part.bins for part in parts]), return_inverse=True)
    counts = np.zeros(bins.size, dtype=np.int64)
    np.add.at(counts, where, np.concatenate([part.counts for part in parts]))
    return Histogram(bins, counts)


def pixels_up_to_saturation(region: Histogram, saturation_area: int) -> NDArray[np.int64]:
    """How many of each bin's pixels count towards the sPRO of a region.

    The highest `saturation_area` pixels do. Which pixels of the last bin are among them is not
    known and does not matter; how many is.

    Returns
    -------
    array of shape (m,), int64
        One number per bin of the region, in the order of its bins.
    """
    from_top = np.minimum(np.cumsum(region.counts[::-1]), saturation_area)
    return np.diff(from_top, prepend=0)[::-1]
