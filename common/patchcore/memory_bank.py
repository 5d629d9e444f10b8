"""The memory bank: the rows kept, and the exact search of the nearest of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.patchcore.exact.device import DeviceUnfit, accelerator, by_cpu
from common.patchcore.exact.plain import plainly

if TYPE_CHECKING:
    import torch

    from common.patchcore.exact.bound_search import BoundSearch
    from common.patchcore.exact.device_search import DeviceSearch


class MemoryBank:
    """Rows of normal patch features, searched for nearest neighbours.

    Parameters
    ----------
    rows : array of shape (m, d), float32
        Patch features in the network's own scale; finite, at least one. Not modified, and not
        copied where they are contiguous.
    threads : int, optional
        How many threads search; by default the CPUs that this process may use.
    device : torch.device or str, optional
        A GPU that multiplies instead of the CPU; the CPU does it all, and logs it, if the GPU's
        memory does not suffice or it fails (see `trusted`).

    Raises
    ------
    ValueError
        If `rows` is empty, not two-dimensional or holds a non-finite value.
    RuntimeError
        By torch, if it knows no such kind of device.

    Notes
    -----
    Exact: the distances are direct differences in float64, bit for bit the same whatever the
    way, the device, the threads or the number of queries at a time. Small work is done by a plain
    loop. Once a process has done a second of it, float32 products rule rows out; after more, on a
    CPU, the bank's principal components may do so with a fraction of the products, if a trial on
    the queries at hand finds them worth it.

    Peak memory beside rows and queries: one more copy of the rows (half of one in bfloat16), at
    most half as much again where the bound is in use, and 10 MB a thread, whatever the number of
    queries. On a GPU: one copy of the rows and up to about 0.7 GB.

    Examples
    --------
    >>> import numpy as np
    >>> from common.patchcore.memory_bank import MemoryBank
    >>> bank = MemoryBank(np.array([[0, 0], [6, 8]], dtype=np.float32))
    >>> distances, indices = bank.nearest(np.array([[3, 4], [6, 9]], dtype=np.float32))
    >>> distances.tolist(), indices.tolist()  # a tie goes to the lower index
    ([5.0, 1.0], [0, 1])
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        threads: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.rows = _checked(rows, "rows")
        if self.rows.size == 0:
            raise ValueError(f"a memory bank needs rows, got shape {self.rows.shape}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.threads = threads
        self.device = accelerator(device)
        self._work = 0
        self._search: BoundSearch | DeviceSearch | None = None

    def nearest(
        self, queries: NDArray[np.float32], k: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the `k` nearest rows of each query, nearest first.

        Parameters
        ----------
        queries : array of shape (q, d), float32
            Patch features in the scale of the rows; finite. Not modified.
        k : int
            Neighbours wanted: at least 1, at most the number of rows.

        Returns
        -------
        distances : array of shape (q,) if `k` is 1, else (q, k), float64
            Euclidean, not squared.
        indices : array of the same shape, int64
            Ties go to the lowest index.

        Raises
        ------
        ValueError
            If the queries do not fit the bank or hold a non-finite value, or `k` is out of range.

        Examples
        --------
        >>> import numpy as np
        >>> from common.patchcore.memory_bank import MemoryBank
        >>> bank = MemoryBank(np.array([[0], [1], [5]], dtype=np.float32))
        >>> distances, indices = bank.nearest(np.array([[4]], dtype=np.float32), k=2)
        >>> distances.tolist(), indices.tolist()
        ([[1.0, 3.0]], [[2, 1]])
        """
        queries = _checked(queries, "queries")
        m, d = self.rows.shape
        if queries.shape[1] != d:
            raise ValueError(f"queries have {queries.shape[1]} columns, the bank has {d}")
        if not 1 <= k <= m:
            raise ValueError(f"k must be from 1 to {m}, got {k}")
        work = len(queries) * self.rows.size
        self._work += work
        if plainly(work, self._work):
            squared, indices = self._plain_loop(queries, k)
        else:
            squared, indices = self._fast_search(queries, k)
        distances = np.sqrt(squared)
        return (distances[:, 0], indices[:, 0]) if k == 1 else (distances, indices)

    def _fast_search(
        self, queries: NDArray[np.float32], k: int
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
                        self._search = DeviceSearch(self.rows, device, self.threads)
                    return self._search.nearest(queries, k)
            except DeviceUnfit as error:
                by_cpu("nearest neighbours", self.device, error)
            self.device = self._search = None
        if self._search is None:
            from common.patchcore.exact.bound_search import BoundSearch

            self._search = BoundSearch(self.rows, self.threads)
        return self._search.nearest(queries, k)

    def _plain_loop(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Measure every row for every query: what the fast search must equal."""
        m, d = self.rows.shape
        squared = np.empty((len(queries), k))
        indices = np.empty((len(queries), k), dtype=np.int64)
        step = max(1, (1 << 17) // d)
        measured = np.empty(m)
        for i, query in enumerate(queries):
            target = query.astype(np.float64)
            for begin in range(0, m, step):
                difference = self.rows[begin : begin + step] - target
                measured[begin : begin + step] = (difference**2).sum(axis=1)
            order = np.argsort(measured, kind="stable")[:k]
            indices[i], squared[i] = order, measured[order]
        return squared, indices


def _checked(rows: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the rows as a C-contiguous float32 array, or say what is wrong with them."""
    if np.ndim(rows) != 2:
        raise ValueError(f"{name} must be two-dimensional, its shape is {np.shape(rows)}")
    array = np.require(rows, dtype=np.float32, requirements=["C", "A"])
    for begin in range(0, len(array), 4096):
        if not np.isfinite(array[begin : begin + 4096]).all():
            raise ValueError(f"{name} holds a non-finite value")
    return array
