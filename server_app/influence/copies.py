"""Rows that two stations sent alike, byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Copies:
    """Who sent rows that somebody else had sent or sends, too.

    Attributes
    ----------
    shared : dict of station to int
        Rows of each that came from another station as well.
    with_whom : dict of station to Counter of station
        Whose these were.

    Notes
    -----
    Some 30 bytes a row are needed while a bank is looked at. Two rows have the same number by
    chance once in 2^64 pairs.
    """

    shared: dict[str, int] = field(default_factory=dict)
    with_whom: dict[str, Counter[str]] = field(default_factory=dict)

    def look(self, came: Mapping[str, NDArray[Any]], kept: Mapping[str, NDArray[Any]]) -> None:
        """Compare the rows of one bank that came in a round.

        Parameters
        ----------
        came : mapping of station to array of shape (n, d)
        kept : mapping of station to array of shape (m, d)
            Rows of the rounds before: who sends these again is not their owner.
        """
        if not came:
            return
        hashes = {s: _hashes(rows) for s, rows in sorted(came.items())}
        known = {s: np.unique(own) for s, own in hashes.items()}
        for station, rows in kept.items():
            own = [known[station]] if station in known else []
            known[station] = np.unique(np.concatenate([_hashes(rows), *own]))
        values, counts = np.unique(np.concatenate([*known.values()]), return_counts=True)
        several = values[counts > 1]
        for station, own_hashes in hashes.items():
            alike = own_hashes[np.isin(own_hashes, several)]
            self.shared[station] = self.shared.get(station, 0) + len(alike)
            whose = self.with_whom.setdefault(station, Counter())
            for other, theirs in known.items() if len(alike) else ():
                if other != station and (count := int(np.isin(alike, theirs).sum())):
                    whose[other] += count


def _hashes(rows: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each row, the same for the same bytes in this process."""
    return np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(rows))
