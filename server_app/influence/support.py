"""How far a station's rows lie from everybody else's, against how far the others' do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation.merged_threshold import FEWEST_HOLDERS
from common.patchcore.distances import Distances
from common.patchcore.owned_bank import OwnedBank
from server_app.influence.limits import FEWEST_MEASURED, MOST_WORK


@dataclass(frozen=True)
class Support:
    """Of one station's rows in one category.

    Attributes
    ----------
    median, high : float
        Distance from the nearest row of any other station, in the median distance that the rows of
        the others have so; median and 90 % quantile of the rows measured.
    measured : int
        Rows that were measured, spread evenly over the station's.
    """

    median: float
    high: float
    measured: int


def supports(
    rows: NDArray[Any], owners: NDArray[np.str_], distances: Distances
) -> dict[str, Support]:
    """Measure the rows of every station against those of the others.

    Parameters
    ----------
    rows : array of shape (m, d)
        Of one category.
    owners : array of shape (m,)
        Station names.
    distances : Distances
        In which they were chosen.

    Returns
    -------
    dict of station to Support
        Empty where fewer than three stations brought rows.

    Notes
    -----
    One search by owner. At most `MOST_WORK` multiplications, or `FEWEST_MEASURED` rows a station;
    memory: the rows in the distances' space three times.
    """
    names, whose = np.unique(owners, return_inverse=True)
    if len(names) < FEWEST_HOLDERS:
        return {}
    measured = np.asarray(distances(rows), dtype=np.float32)
    chosen = _chosen(whose, int(MOST_WORK / measured.size))
    found = OwnedBank(measured, whose).nearest_two(measured[chosen])
    own = whose[chosen]
    apart = np.where(found.owners == own, found.without, found.distances)
    result = {}
    for number, name in enumerate(names):
        usual = float(np.median(apart[own != number]))
        if usual > 0:
            ratios = apart[own == number] / usual
            median, high = (float(value) for value in np.quantile(ratios, (0.5, 0.9)))
            result[str(name)] = Support(median, high, len(ratios))
    return result


def _chosen(whose: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Rows to be measured: of each station evenly spread ones, so many in all."""
    counts = np.bincount(whose)
    shares = np.maximum(FEWEST_MEASURED, most * counts // len(whose))
    parts = []
    for number, (count, share) in enumerate(zip(counts, shares, strict=True)):
        places = np.flatnonzero(whose == number)
        parts.append(places[np.linspace(0, count - 1, min(int(share), int(count))).astype(int)])
    return np.concatenate(parts)
