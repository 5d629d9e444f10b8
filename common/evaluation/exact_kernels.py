"""Inner loops of the exact evaluation, compiled by numba.

Importing this module compiles (seconds, once per machine where the cache can be written), so it is
imported only where scores are counted.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from common.patchcore.exact.compiled import compiled

RUN = 64
"""Neighbouring pixels that are looked at together: mostly they share what is asked."""

INDEX = types.int64
WRITABLE = types.Array(types.float32, 1, "C")
SCORES = types.Array(types.float32, 1, "C", readonly=True)
COUNTS = types.Array(types.int64, 1, "C")


@compiled(INDEX(SCORES, types.Array(types.boolean, 1, "C", readonly=True), WRITABLE, INDEX))
def copy_chosen(
    scores: NDArray[np.float32],
    chosen: NDArray[np.bool_],
    buffer: NDArray[np.float32],
    start: int,
) -> int:
    """Copy the chosen scores into `buffer` from `start` on; returns where they end."""
    end = start
    for first in range(0, scores.size, RUN):
        last = min(first + RUN, scores.size)
        n_chosen = 0
        for wanted in chosen[first:last]:
            n_chosen += wanted
        if n_chosen == last - first:
            buffer[end : end + n_chosen] = scores[first:last]
            end += n_chosen
        elif n_chosen > 0:
            # Writes every score and then moves on or not: there is no branch to predict.
            for position in range(first, last):
                buffer[end] = scores[position]
                end += chosen[position]
    return end


@compiled(INDEX(WRITABLE, INDEX, INDEX, types.float32))
def move_to_front(scores: NDArray[np.float32], start: int, size: int, lowest: np.float32) -> int:
    """Reorder `scores[start:size]` so that those >= `lowest` come first; returns their end."""
    end = start
    for first in range(start, size, RUN):
        last = min(first + RUN, size)
        n_found = 0
        for score in scores[first:last]:
            n_found += score >= lowest
        if n_found > 0:
            # Swaps every score and then moves on or not, as above.
            for position in range(first, last):
                score = scores[position]
                scores[position] = scores[end]
                scores[end] = score
                end += score >= lowest
    return end


@compiled(types.void(SCORES, SCORES, COUNTS, COUNTS))
def count_below(
    block: NDArray[np.float32],
    levels: NDArray[np.float32],
    below: NDArray[np.int64],
    not_above: NDArray[np.int64],
) -> None:
    """Add to `below` and `not_above` how many scores are < and <= each level.

    Both arrays of scores ascend, so one walk along both is enough: O(n + m), where a search for
    each level would cost O(m log n).
    """
    under = np.searchsorted(block, levels[0])
    reached = under
    for position in range(levels.size):
        level = levels[position]
        while under < block.size and block[under] < level:
            under += 1
        reached = max(reached, under)
        while reached < block.size and block[reached] <= level:
            reached += 1
        below[position] += under
        not_above[position] += reached
        under = reached


@compiled(types.Tuple((WRITABLE, COUNTS))(SCORES))  # type: ignore[no-untyped-call]
def distinct_scores(
    ascending: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distinct values of an ascending array, and how often each occurs."""
    n_levels = 0
    for position in range(ascending.size):
        if position == 0 or ascending[position] != ascending[position - 1]:
            n_levels += 1
    levels = np.empty(n_levels, dtype=np.float32)
    pixels = np.zeros(n_levels, dtype=np.int64)
    level = -1
    for position in range(ascending.size):
        if position == 0 or ascending[position] != ascending[position - 1]:
            level += 1
            levels[level] = ascending[position]
        pixels[level] += 1
    return levels, pixels


@compiled(types.void(SCORES, SCORES, types.float64, types.Array(types.float64, 1, "C")))
def add_at_levels(
    levels: NDArray[np.float32],
    ascending: NDArray[np.float32],
    weight: float,
    rise: NDArray[np.float64],
) -> None:
    """Add `weight` to the rise of each score's level; every score is among the levels."""
    low = 0
    for score in ascending:
        # Strides double until they pass the score: scores of one region lie close together.
        stride = 1
        while low + stride < levels.size and levels[low + stride] <= score:
            low += stride
            stride *= 2
        while stride > 0:
            if low + stride < levels.size and levels[low + stride] <= score:
                low += stride
            stride //= 2
        rise[low] += weight
