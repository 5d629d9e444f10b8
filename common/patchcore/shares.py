"""A shared bank that is fair: every category has its share of the rows.

Farthest first over all categories at once spends its rows where patches lie far apart: a category
of strong grain takes what one of fine texture would need. So rows are chosen category by category,
each within its share, and only then put into one bank. What one place would choose and what a
federation merges is thereby the same question, asked once for each category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.patchcore.aggregation import apportion


@dataclass(frozen=True)
class Share:
    """What one category has of a shared bank.

    Attributes
    ----------
    rows : int
        Rows that were chosen from its patches.
    radius : float or None
        Euclidean distance from these rows to the training patch of the category that lies farthest
        from them, in the space of the coreset's distances; None where it was not measured. No
        patch of the category lies farther from the whole bank.
    """

    rows: int
    radius: float | None = None


def fair_sizes(total: int, weights: Sequence[float], limits: Sequence[int]) -> list[int]:
    """Divide the rows of a bank among categories.

    Parameters
    ----------
    total : int
        Rows of the bank.
    weights : sequence of float
        What the shares are in proportion to: training images.
    limits : sequence of int
        Most rows that each category can fill, at least 1.

    Returns
    -------
    list of int
        At least 1 for each; they sum to max(total, categories). No category has more than its
        limit as long as another could fill the row; what nobody can fill is divided by weight.
    """
    each = len(weights)
    spare = max(total, each) - each
    within = apportion(spare, weights, [limit - 1 for limit in limits])
    unfilled = spare - sum(within)
    beyond = apportion(unfilled, weights, [unfilled] * each)
    return [1 + own + more for own, more in zip(within, beyond, strict=True)]


def pooled(banks: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Put the rows of all categories into one bank.

    Parameters
    ----------
    banks : mapping of str to array of shape (k_i, d)
        Rows of each category, farthest first, all of one dtype; at least one category.

    Returns
    -------
    array of shape (sum of k_i, d)
        The very rows, spread evenly: every prefix holds of each category a part in proportion to
        its rows, and a category's rows stay in their order. Ties go to the first name. Not a copy
        where there is but one category.

    Notes
    -----
    Memory: the whole, beside the parts.
    """
    names = sorted(banks)
    if len(names) == 1:
        return banks[names[0]]
    lengths = [len(banks[name]) for name in names]
    heights = np.concatenate([(np.arange(n) + 0.5) / max(1, n) for n in lengths])
    places = np.empty(len(heights), dtype=np.int64)
    places[np.argsort(heights, kind="stable")] = np.arange(len(heights))
    first = banks[names[0]]
    whole = np.empty((len(heights), first.shape[1]), dtype=first.dtype)
    end = 0
    for name, length in zip(names, lengths, strict=True):
        whole[places[end : end + length]] = banks[name]
        end += length
    return whole


def pooled_owners(owners: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Put whose the rows are, (k_i,) each, in the order that `pooled` gives the rows."""
    return pooled({name: own[:, None] for name, own in owners.items()})[:, 0]
