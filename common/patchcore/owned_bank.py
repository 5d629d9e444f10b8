"""A memory bank that knows who brought each row: the nearest row, and the nearest of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.patchcore.exact.device import DeviceUnfit, accelerator, by_cpu
from common.patchcore.exact.owner_pairs import OwnerPairs
from common.patchcore.exact.plain import plainly

if TYPE_CHECKING:
    import torch

    from common.patchcore.exact.bound_search import BoundSearch
    from common.patchcore.exact.device_search import DeviceSearch


@dataclass(frozen=True)
class NearestTwo:
    """The two owners that are nearest to each query.

    Attributes
    ----------
    distances : array of shape (q,), float64
        Euclidean, from the nearest row: bit for bit those of `MemoryBank.nearest`.
    indices : array of shape (q,), int64
        Which row that is; ties go to the lowest index.
    owners : array of shape (q,), int64
        Whose it is, as a place in `OwnedBank.owners`.
    without : array of shape (q,), float64
        Distance from the nearest row of all other owners; infinite where there is no other.
    """

    distances: NDArray[np.float64]
    indices: NDArray[np.int64]
    owners: NDArray[np.int64]
    without: NDArray[np.float64]


class OwnedBank:
    """Rows of several owners, searched by owner.

    Parameters
    ----------
    rows : array of shape (m, d), float32
        As `MemoryBank` takes them.
    owners : array of shape (m,), integers
        Who brought each row.
    threads, device
        As for `MemoryBank`.

    Attributes
    ----------
    owners : array of shape (owners,), int64
        Each owner once, ascending.

    Raises
    ------
    ValueError
        If there is no row, or not one owner for each.

    Notes
    -----
    Every row is multiplied with every query once, as in a plain search; measured in float64 are
    what the filter leaves of each owner within the second distance, a few rows an owner. Memory
    beside the rows: a copy of them sorted by owner, and that of `MemoryBank`'s search.

    Examples
    --------
    >>> import numpy as np
    >>> from common.patchcore.owned_bank import OwnedBank
    >>> bank = OwnedBank(np.array([[0], [1], [5]], dtype=np.float32), np.array([7, 7, 3]))
    >>> found = bank.nearest_two(np.array([[1.5]], dtype=np.float32))
    >>> found.distances.tolist(), bank.owners[found.owners].tolist(), found.without.tolist()
    ([0.5], [7], [3.5])
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        owners: NDArray[np.integer],
        threads: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if rows.ndim != 2 or rows.size == 0 or owners.shape != (len(rows),):
            raise ValueError(
                f"rows of shape {rows.shape} and owners of shape {owners.shape}; expected (m, d) "
                "and (m,), m and d at least 1"
            )
        self.owners, self._whose = np.unique(owners.astype(np.int64), return_inverse=True)
        self._places = np.argsort(self._whose, kind="stable")
        sorted_already = bool((self._places[1:] > self._places[:-1]).all())
        self._rows = np.ascontiguousarray(
            rows if sorted_already else rows[self._places], dtype=np.float32
        )
        self._sorted = self._whose[self._places]
        self.threads, self.device = threads, accelerator(device)
        self._work = 0
        self._search: BoundSearch | DeviceSearch | None = None

    def nearest_two(self, queries: NDArray[np.float32]) -> NearestTwo:
        """Find the nearest row of each query, whose it is, and the nearest of anybody else.

        Parameters
        ----------
        queries : array of shape (q, d), float32
            Finite. Not modified.

        Raises
        ------
        ValueError
            If the queries do not fit the bank or hold a non-finite value.
        """
        queries = np.require(queries, dtype=np.float32, requirements=["C", "A"])
        if queries.ndim != 2 or queries.shape[1] != self._rows.shape[1]:
            raise ValueError(
                f"queries of shape {queries.shape}; the bank has {self._rows.shape[1]} columns"
            )
        if not np.isfinite(queries).all():
            raise ValueError("queries holds a non-finite value")
        work = len(queries) * self._rows.size
        self._work += work
        if plainly(work, self._work):
            squared, indices = self._plain_loop(queries)
        else:
            squared, indices = self._fast_search(queries)
        first = indices[:, 0]
        distances = np.sqrt(squared)
        return NearestTwo(
            distances[:, 0], self._places[first], self._sorted[first], distances[:, 1]
        )

    def _fast_search(
        self, queries: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Search by what is made when it is first worth it: on the device, else on the CPU."""
        # Imported here: compiling takes seconds (once per machine).
        if self.device is not None:
            from common.patchcore.exact.device_proof import trusted
            from common.patchcore.exact.device_search import DeviceSearch

            device = trusted(self.device)
            try:
                if device is not None:
                    if self._search is None:
                        self._search = DeviceSearch(
                            self._rows, device, self.threads, owners=self._sorted
                        )
                    return self._search.nearest_two(queries, self._places)
            except DeviceUnfit as error:
                by_cpu("nearest neighbours", self.device, error)
            self.device = self._search = None
        if self._search is None:
            from common.patchcore.exact.bound_search import BoundSearch

            self._search = BoundSearch(self._rows, self.threads, owners=self._sorted)
        return self._search.nearest_two(queries, self._places)

    def _plain_loop(
        self, queries: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Measure every row for every query: what the fast search must equal."""
        starts = np.flatnonzero(np.diff(self._sorted, prepend=-1))
        ends = [*starts[1:], len(self._rows)]
        known = OwnerPairs.none_yet(self._places, len(queries))
        step = max(1, (1 << 17) // self._rows.shape[1])
        for begin, end in zip(starts, ends, strict=True):
            values, found = known.begin()
            for i, query in enumerate(queries):
                target = query.astype(np.float64)
                for at in range(begin, end, step):
                    block = self._rows[at : min(at + step, end)]
                    measured = ((block - target) ** 2).sum(axis=1)
                    nearest = int(measured.argmin())
                    if measured[nearest] < values[i, 0]:
                        values[i, 0], found[i, 0] = measured[nearest], at + nearest
            known.end()
        return known.squared, known.indices
