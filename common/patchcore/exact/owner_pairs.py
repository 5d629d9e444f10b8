"""Of rows that several owners brought: the nearest row, and the nearest that another owner brought.

The rows of one owner lie together. Owner after owner is searched for its nearest row, but only
closer than the second distance that is known by then: whatever lies farther changes nothing. Each
row is multiplied with each query once, as in a plain search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]


@dataclass
class OwnerPairs:
    """What is known of some queries so far.

    Attributes
    ----------
    places : array of shape (m,), int64
        Where each of the sorted rows stood before: ties go to the lowest of these.
    squared : array of shape (q, 2), float64
        Squared distances of the nearest row, and of the nearest row of all other owners; infinite
        where there is none.
    indices : array of shape (q, 2), int64
        These rows among the sorted ones, -1 where there is none.
    """

    places: NDArray[np.int64]
    squared: NDArray[np.float64]
    indices: NDArray[np.int64]
    _values: NDArray[np.float64] = field(init=False)
    _found: NDArray[np.int64] = field(init=False)

    @classmethod
    def none_yet(cls, places: NDArray[np.int64], queries: int) -> OwnerPairs:
        """Of so many queries nothing is known."""
        return cls(places, np.full((queries, 2), np.inf), np.full((queries, 2), -1, dtype=np.int64))

    def begin(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the lists, of one row each, that a search of the next owner's rows fills.

        They begin just above the second distance: as near as it is near enough, for ties.
        """
        self._values = np.nextafter(self.squared[:, 1:], np.inf)
        self._found = np.full((len(self.squared), 1), -1, dtype=np.int64)
        return self._values, self._found

    def end(self) -> None:
        """Take in what was found of this owner's rows."""
        values, found = self._values[:, 0], self._found[:, 0]
        first = self._before(values, found, 0)
        second = self._before(values, found, 1) & ~first
        for array, new in ((self.squared, values), (self.indices, found)):
            array[first, 1] = array[first, 0]
            array[first, 0] = new[first]
            array[second, 1] = new[second]

    def _before(
        self, values: NDArray[np.float64], found: NDArray[np.int64], rank: int
    ) -> NDArray[np.bool_]:
        """Whether what was found comes before what is known; a tie goes to the lower place."""
        known, at = self.squared[:, rank], self.indices[:, rank]
        earlier = (at < 0) | (self.places[found] < self.places[at])
        return (found >= 0) & ((values < known) | ((values == known) & earlier))


def owner_spans(owners: NDArray[np.integer], most: int) -> list[list[Span]]:
    """Blocks of at most so many rows, by owner: none holds rows of two.

    Parameters
    ----------
    owners : array of shape (m,)
        Sorted, m at least 1.
    most : int
    """
    ends = [*np.flatnonzero(np.diff(owners)) + 1, len(owners)]
    spans, begin = [], 0
    for end in ends:
        spans.append([(at, min(at + most, int(end))) for at in range(begin, int(end), most)])
        begin = int(end)
    return spans


def flat(spans: Sequence[Sequence[Span]]) -> list[Span]:
    """All blocks, in order."""
    return [span for own in spans for span in own]
