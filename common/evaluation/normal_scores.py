"""All scores of normal pixels, kept so that it is quick to count how many lie below others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_SIZE = 2**24
"""Scores that are sorted at once (64 MB)."""


@dataclass
class _Block:
    """Scores in a buffer: `size` of them, of which the first `n_sorted` ascend.

    Those are `lowest` or more; the rest is less and in no order.
    """

    scores: NDArray[np.float32]
    size: int = 0
    n_sorted: int = 0
    lowest: float = math.inf


class NormalScores:
    """A growing collection of scores that can be counted below given levels.

    Notes
    -----
    4 bytes a score. Sorting is put off until levels are given, because scores below the lowest
    level, usually most of them, need no order: they are below every level.
    """

    def __init__(self) -> None:
        self.size = 0
        self._blocks: list[_Block] = []

    def add(self, scores: NDArray[np.float32], chosen: NDArray[np.bool_] | None = None) -> None:
        """Add scores of any shape, float32, or those of them where `chosen`; they are copied."""
        block = self._block_with_room(scores.size)
        if chosen is None:
            end = block.size + scores.size
            block.scores[block.size : end] = scores.ravel()
        else:
            from common.evaluation.exact_kernels import copy_chosen

            flat = np.ascontiguousarray(scores).ravel()
            end = copy_chosen(flat, np.ascontiguousarray(chosen).ravel(), block.scores, block.size)
        self.size += end - block.size
        block.size = end

    def count_below(
        self,
        levels: NDArray[np.float32],
        below: NDArray[np.int64],
        not_above: NDArray[np.int64],
    ) -> None:
        """Add to `below` and `not_above` how many scores are < and <= each level.

        Parameters
        ----------
        levels : array of shape (m,), float32
            Ascending, each once, at least one.
        below, not_above : arrays of shape (m,), int64
            Changed in place.
        """
        from common.evaluation.exact_kernels import count_below, move_to_front

        below_all = 0
        for block in self._blocks:
            if levels[0] < block.lowest:
                block.n_sorted = move_to_front(block.scores, block.n_sorted, block.size, levels[0])
                block.scores[: block.n_sorted].sort()
                block.lowest = float(levels[0])
            below_all += block.size - block.n_sorted
            count_below(block.scores[: block.n_sorted], levels, below, not_above)
        below += below_all
        not_above += below_all

    def _block_with_room(self, size: int) -> _Block:
        """A block that takes `size` more scores; nothing is added to one that was sorted."""
        if self._blocks:
            last = self._blocks[-1]
            if math.isinf(last.lowest) and last.scores.size - last.size >= size:
                return last
        # The buffer takes memory only as it is filled.
        self._blocks.append(_Block(np.empty(max(BLOCK_SIZE, size), dtype=np.float32)))
        return self._blocks[-1]
