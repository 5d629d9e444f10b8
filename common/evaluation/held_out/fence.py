"""How far out the score of a good part may lie: beyond that it sets no threshold in silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST: Final = 8
"""Of fewer scores the quartiles say too little: there is no fence."""
REACH: Final = 3.0
"""In distances between the quartiles: Tukey's outer fence. A score of a normal law passes it once
in a million."""


@dataclass(frozen=True)
class Fenced:
    """Scores of one kind, divided by their own fence.

    Attributes
    ----------
    kept : array of shape (n,), float64
        Those within it, ascending.
    beyond : array of shape (m,), float64
        Those above it, ascending.
    fence : float or None
        None where there are too few to tell, or no spread among the middle half of them.
    """

    kept: NDArray[np.float64]
    beyond: NDArray[np.float64]
    fence: float | None


def fence_of(scores: Sequence[float] | NDArray[np.floating]) -> float | None:
    """Third quartile and 3 times the distance between the quartiles.

    Parameters
    ----------
    scores : array of shape (n,), float
        Image scores (Euclidean distances) of images that are said to be good; finite.

    Returns
    -------
    float or None
        None of fewer than 8 scores. None also where half of them or more are equal: of tied
        scores the quartiles measure no spread.

    References
    ----------
    Tukey, "Exploratory Data Analysis", 1977 (the outer fence).

    Examples
    --------
    Quartiles 2.75 and 6.25: 6.25 + 3 x 3.5.

    >>> from common.evaluation.held_out.fence import fence_of
    >>> fence_of([1, 2, 3, 4, 5, 6, 7, 100])
    16.75
    """
    values = np.asarray(scores, dtype=np.float64).ravel()
    if values.size < FEWEST:
        return None
    first, third = np.quantile(values, (0.25, 0.75))
    return float(third + REACH * (third - first)) if third > first else None


def within_fence(scores: Sequence[float] | NDArray[np.floating]) -> Fenced:
    """Divide scores by the fence that they make themselves.

    Parameters
    ----------
    scores : array of shape (n,), float
        As in `fence_of`.

    Returns
    -------
    Fenced
        At least three quarters of the scores are kept.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    fence = fence_of(values)
    end = values.size if fence is None else int(np.searchsorted(values, fence, side="right"))
    return Fenced(values[:end], values[end:], fence)
