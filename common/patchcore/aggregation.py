"""How the server merges what the stations sent: pure functions of arrays, no Flower.

A bank here is what one station sent, rows in farthest-first order, and stations always come in
order of their names, so that the order of replies changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.patchcore.coreset import select_coreset
from common.patchcore.distances import FULL, Distances

Rows = NDArray[np.floating]
Indices = NDArray[np.int64]
Aggregation = Callable[..., Indices]

_BLOCK_ROWS: Final = 16_384
MOST_OF_SHARE: Final = 1.25
"""No station has more rows of a bank than this many times its weighted share."""


def federated_coreset(
    banks: Sequence[Rows],
    weights: NDArray[np.float64],
    size: int,
    *,
    distances: Distances = FULL,
    min_share: float = 0.0,
) -> Indices:
    """Weighted global coreset selection: farthest first over all that was sent.

    A station sends a prefix of its own farthest-first order in proportion to its weight, and the
    selection picks from these what covers them all. Once a station has `MOST_OF_SHARE` times its
    share, the rest of its rows is out: farthest first prefers what lies far from everything, so
    that garbage would otherwise fill all that its sender may send.

    Parameters
    ----------
    banks : sequence of arrays of shape (k_i, d), float16 or float32
        Patch features that each station sent, in the network's own scale, farthest first.
    weights : array of shape (stations,), float64
        Share of each station.
    size : int
        Rows wanted.
    distances : Distances
        The projection that the stations used as well: distances are Euclidean in its space.
    min_share : float
        A share of `size`. Not used here.

    Returns
    -------
    array of shape (min(size, sum of k_i),), int64
        Rows of the concatenated banks, in order of choice.

    Examples
    --------
    The distances' seed draws row 2, which is 10, to begin with; 0 lies farthest from it.

    >>> import numpy as np
    >>> from server_app.aggregation import AGGREGATIONS
    >>> merge = AGGREGATIONS["federated_coreset"]
    >>> banks = [np.array([[0.0], [1.0]]), np.array([[10.0]])]
    >>> merge(banks, np.array([0.5, 0.5]), size=2).tolist()
    [2, 0]
    """
    candidates = _measured(banks, distances)
    rng = np.random.default_rng(distances.seed)
    first = select_coreset(candidates, min(size, len(candidates)), rng=rng).indices
    return _within_quotas(first, candidates, banks, weights, size)


def diversity_preserving(
    banks: Sequence[Rows],
    weights: NDArray[np.float64],
    size: int,
    *,
    distances: Distances = FULL,
    min_share: float = 0.05,
) -> Indices:
    """Global coreset selection in which every station keeps a guaranteed minimum.

    The first ceil(min_share x size) rows of every station are taken (fewer where these alone
    would overfill the bank); the rest is filled farthest first from what is left, of no station
    beyond `MOST_OF_SHARE` times its share, unless it was guaranteed more.

    Parameters
    ----------
    banks : sequence of arrays of shape (k_i, d), float16 or float32
        Patch features that each station sent, in the network's own scale, farthest first.
    weights : array of shape (stations,), float64
        Share of each station.
    size : int
        Rows wanted.
    distances : Distances
        The projection that the stations used as well: distances are Euclidean in its space.
    min_share : float
        Share of `size` that every station has for certain, from 0 to 1.

    Returns
    -------
    array of shape (min(size, sum of k_i),), int64
        Rows of the concatenated banks: the guaranteed ones in order of station, then the others
        in order of choice.

    Examples
    --------
    A quarter of four rows is one: 0 of the first station and 2 of the second. Then 10 and 9.

    >>> import numpy as np
    >>> from server_app.aggregation import AGGREGATIONS
    >>> merge = AGGREGATIONS["diversity_preserving"]
    >>> banks = [np.array([[0.0], [10.0], [9.0]]), np.array([[2.0], [1.0]])]
    >>> merge(banks, np.array([0.5, 0.5]), size=4, min_share=0.25).tolist()
    [0, 3, 1, 2]
    """
    offsets = np.concatenate([[0], np.cumsum([len(bank) for bank in banks])])
    share = min(math.ceil(min_share * size - 1e-9), size // max(1, len(banks)))
    kept = [offsets[i] + np.arange(min(share, len(bank))) for i, bank in enumerate(banks)]
    guaranteed = np.concatenate(kept).astype(np.int64)
    left = np.setdiff1d(np.arange(offsets[-1]), guaranteed)
    room = min(size - len(guaranteed), len(left))
    if len(guaranteed) == 0:
        return federated_coreset(banks, weights, size, distances=distances)
    if room == 0:
        return guaranteed
    candidates = _measured(banks, distances)
    more = select_coreset(candidates[left], room, centers=candidates[guaranteed])
    chosen = np.concatenate([guaranteed, left[more.indices]])
    return _within_quotas(chosen, candidates, banks, weights, size, certain=len(guaranteed))


def concatenate(
    banks: Sequence[Rows],
    weights: NDArray[np.float64],
    size: int,
    *,
    distances: Distances = FULL,
    min_share: float = 0.0,
) -> Indices:
    """Prefixes in proportion to the weights, one after another; nothing is selected anew.

    In a run of several rounds each round has its share of every station's rows.

    Parameters
    ----------
    banks : sequence of arrays of shape (k_i, d), float16 or float32
        Patch features that each station sent, in the network's own scale, farthest first.
    weights : array of shape (stations,), float64
        Share of the rows that each station has; what it cannot fill goes to the others.
    size : int
        Rows wanted.
    distances : Distances
        Not used here: nothing is measured.
    min_share : float
        A share of `size`. Not used here.

    Returns
    -------
    array of shape (min(size, sum of k_i),), int64
        Rows of the concatenated banks, in order of station.

    Examples
    --------
    >>> import numpy as np
    >>> from server_app.aggregation import AGGREGATIONS
    >>> merge = AGGREGATIONS["concatenate"]
    >>> banks = [np.zeros((5, 2)), np.ones((5, 2))]
    >>> merge(banks, np.array([0.75, 0.25]), size=4).tolist()
    [0, 1, 2, 5]
    """
    lengths = [len(bank) for bank in banks]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    taken = apportion(size, weights.tolist(), lengths)
    return np.concatenate(
        [offsets[i] + np.arange(count, dtype=np.int64) for i, count in enumerate(taken)]
    )


AGGREGATIONS: Final[dict[str, Aggregation]] = {
    "federated_coreset": federated_coreset,
    "diversity_preserving": diversity_preserving,
    "concatenate": concatenate,
}
"""Name in the run config -> function of (banks, weights, size, *, distances, min_share)."""

IN_ORDER: Final = frozenset({"concatenate"})
"""Those that go by the order of a station's rows alone: rows of all rounds are dealt in turn."""


def apportion(total: int, shares: Sequence[float], limits: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `shares`, never above `limits`, by largest remainders.

    Whoever is at the limit takes just that, and the others share the rest in proportion; ties go
    to the first. The sum is min(total, sum(limits)).
    """
    given = list(limits)
    open_ = list(range(len(shares)))
    left = min(total, sum(limits))
    while open_:
        weights = np.array([shares[i] for i in open_], dtype=np.float64)
        weights = weights / weights.sum() if weights.sum() else np.full(len(open_), 1 / len(open_))
        exact = left * weights
        full = [i for i, portion in zip(open_, exact, strict=True) if portion >= limits[i]]
        if not full:
            # No portion reaches its limit, so rounding one of them up cannot pass it.
            portions = np.floor(exact + 1e-9).astype(int)
            for i in np.argsort(portions - exact, kind="stable")[: left - portions.sum()]:
                portions[i] += 1
            for i, portion in zip(open_, portions.tolist(), strict=True):
                given[i] = portion
            break
        left -= sum(limits[i] for i in full)
        open_ = [i for i in open_ if i not in full]
    return given


def _within_quotas(
    chosen: Indices,
    candidates: NDArray[np.float32],
    banks: Sequence[Rows],
    weights: NDArray[np.float64],
    size: int,
    certain: int = 0,
) -> Indices:
    """Go on without a station from where it would pass its quota, as often as one does.

    Farthest first with a limit per station has the same rows as without one up to the first row
    that is beyond a limit, so only what comes after that is selected anew.

    Parameters
    ----------
    chosen : array of shape (m,), int64
        Rows in order of choice, without limits.
    candidates : array of shape (n, d)
        All rows, measured.
    banks, weights, size
        As in `federated_coreset`.
    certain : int
        So many of the first rows stay whatever the quotas are.
    """
    lengths = [len(bank) for bank in banks]
    owners = np.repeat(np.arange(len(banks)), lengths)
    fair = apportion(size, weights.tolist(), lengths)
    quotas = np.maximum(np.ceil(MOST_OF_SHARE * np.asarray(fair) - 1e-9).astype(np.int64), 1)
    open_ = np.ones(len(candidates), dtype=bool)
    while True:
        own = owners[chosen]
        # How many of the same owner stand up to each place, itself included.
        before = np.zeros(len(chosen), dtype=np.int64)
        for number in range(len(banks)):
            mine = own == number
            before[mine] = np.arange(1, int(mine.sum()) + 1)
        beyond = np.flatnonzero((before > quotas[own]) & (np.arange(len(chosen)) >= certain))
        if len(beyond) == 0:
            return chosen
        kept = chosen[: beyond[0]]
        open_ &= owners != own[beyond[0]]
        open_[kept] = False
        left = np.flatnonzero(open_)
        room = min(size - len(kept), len(left))
        if room == 0:
            return kept
        more = select_coreset(candidates[left], room, centers=candidates[kept])
        chosen = np.concatenate([kept, left[more.indices]])


def _measured(banks: Sequence[Rows], distances: Distances) -> NDArray[np.float32]:
    """All rows in the space of the distances; a block at a time, as float32 takes double space."""
    lengths = [len(bank) for bank in banks]
    width = distances.width(banks[0].shape[1])
    measured = np.empty((sum(lengths), width), dtype=np.float32)
    at = 0
    for bank in banks:
        for start in range(0, len(bank), _BLOCK_ROWS):
            block = distances(bank[start : start + _BLOCK_ROWS])
            measured[at : at + len(block)] = block
            at += len(block)
    return measured
