"""Weights and budgets of stations, and the rows of their banks put together: no Flower.

`AGGREGATIONS` is the table of `common.patchcore.aggregation`: whatever is added there can be asked
for on the command line, which checks the name before a run starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.patchcore.aggregation import AGGREGATIONS, IN_ORDER, Indices, Rows, apportion
from common.patchcore.local_bank import row_budget

__all__ = [
    "AGGREGATIONS",
    "IN_ORDER",
    "apportion",
    "as_rows",
    "dealt",
    "joined",
    "owners_of",
    "row_budgets",
    "station_weights",
]


def station_weights(images: Sequence[float], by_samples: bool = True) -> NDArray[np.float64]:
    """Share of the bank that each station stands for.

    Parameters
    ----------
    images : sequence of float
        Training images of each station that count, those for the bank.
    by_samples : bool
        In proportion to the images, or equal for every station that has any.

    Returns
    -------
    array of shape (stations,), float64
        Sums to 1 (all zeros if nobody has an image).
    """
    counts = np.asarray(images, dtype=np.float64)
    shares = counts if by_samples else (counts > 0).astype(np.float64)
    return shares / shares.sum() if shares.sum() else shares


def row_budgets(
    weights: NDArray[np.float64],
    patches: Sequence[int],
    size: int,
    ratio: float,
    oversample: float,
) -> list[int]:
    """Most rows that each station may send: ceil(oversample x size x weight), at most its ratio.

    Parameters
    ----------
    weights : array of shape (stations,)
    patches : sequence of int
        Patches of each station; a station without any sends nothing.
    size : int
        Rows of the global bank.
    ratio : float
        Largest share of its patches that a station sends.
    oversample : float
        Slack for the global selection, at least 1.
    """
    budgets = []
    for weight, count in zip(weights, patches, strict=True):
        wanted = math.ceil(oversample * size * weight - 1e-9)
        budgets.append(min(max(1, wanted), row_budget(ratio, count)) if count and weight else 0)
    return budgets


def joined(parts: list[Rows]) -> Rows:
    """Put the parts of a bank together, in order; `parts` is emptied on the way.

    Memory: the whole, and the parts that are not yet in it.
    """
    if len(parts) == 1:
        return parts.pop()
    whole = np.empty((sum(len(part) for part in parts), parts[0].shape[1]), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def dealt(kept: Rows, new: Rows, round_: int) -> Rows:
    """Put rows of a later round between those kept: of every prefix each round has its share.

    Examples
    --------
    In round 3 two rows of the rounds before are followed by a new one.

    >>> import numpy as np
    >>> from server_app.aggregation import dealt
    >>> kept, new = np.array([[1], [2], [3], [4]]), np.array([[-1], [-2], [-3]])
    >>> dealt(kept, new, 3).ravel().tolist()
    [1, 2, -1, 3, 4, -2, -3]
    """
    places = [np.arange(len(kept)) // max(1, round_ - 1), np.arange(len(new)) + 0.5]
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate([kept, new])[order]


def owners_of(indices: Indices, lengths: Sequence[int]) -> Indices:
    """Which bank each row of the concatenation came from."""
    return np.searchsorted(np.cumsum(lengths), indices, side="right").astype(np.int64)


def as_rows(banks: Sequence[Rows], indices: Indices) -> NDArray[Any]:
    """Rows of the concatenated banks, without concatenating all of them."""
    lengths = [len(bank) for bank in banks]
    owners = owners_of(indices, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.empty((len(indices), banks[0].shape[1]), dtype=banks[0].dtype)
    for number, bank in enumerate(banks):
        chosen = owners == number
        rows[chosen] = bank[indices[chosen] - offsets[number]]
    return rows
