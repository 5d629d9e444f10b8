"""Exact nearest neighbours with the filter on a GPU (see `_device_filter`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore.exact.blas import usable_threads
from common.patchcore.exact.device_filter import MOST_THREADS, DeviceTable, device_products
from common.patchcore.exact.filters import FrameFilter
from common.patchcore.exact.frame import fit_frame
from common.patchcore.exact.owner_pairs import OwnerPairs, owner_spans
from common.patchcore.exact.search_kernels import FAR

_QUERIES = 2048
_ROWS = 1 << 14


class DeviceSearch:
    """Search one bank that stays on a device; the result is `BoundSearch`'s, bit for bit.

    Parameters
    ----------
    rows : array of shape (m, d), float32, C-contiguous, finite
    device : torch.device
    threads : int, optional
        How many threads measure what the device leaves.
    block_queries, block_rows : int, optional
        Sizes of the working blocks. They change nothing but the time.
    owners : array of shape (m,), optional
        Who brought each row: sorted, for `nearest_two`.

    Raises
    ------
    DeviceUnfit
        If the device's memory does not suffice, it fails, or it multiplies in a shorter format.

    Notes
    -----
    Memory on the device: 4 m (d + 1) bytes, and about 50 MB and cuBLAS's workspace for each of at
    most 8 threads. On the host a few MB a thread beside the rows.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        device: torch.device,
        threads: int | None = None,
        block_queries: int = _QUERIES,
        block_rows: int = _ROWS,
        owners: NDArray[np.integer] | None = None,
    ) -> None:
        self.owned = None if owners is None else owner_spans(owners, block_rows)
        self.threads = min(usable_threads(threads), MOST_THREADS)
        self.block_queries, self.block_rows = block_queries, block_rows
        with device_products(device):
            self.table = DeviceTable(rows, fit_frame(rows), device)
            self.table.append(len(rows))

    def nearest(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return squared distances and indices, both (q, k), nearest first."""
        return self._found(queries, k, None)

    def nearest_two(
        self, queries: NDArray[np.float32], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return what `BoundSearch.nearest_two` does."""
        return self._found(queries, 2, places)

    def _found(
        self, queries: NDArray[np.float32], k: int, places: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        squared = np.full((len(queries), k), np.inf)
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        # Small enough that every thread has a block; never so small that products are slow.
        size = min(self.block_queries, max(64, -(-len(queries) // self.threads)))
        blocks = [slice(i, i + size) for i in range(0, len(queries), size)]

        def work(block: slice) -> None:
            pairs = None
            if places is not None:
                pairs = OwnerPairs(places, squared[block], indices[block])
            self._search_block(queries[block], squared[block], indices[block], pairs)

        with device_products(self.table.device):
            if self.threads == 1 or len(blocks) <= 1:
                for block in blocks:
                    work(block)
            else:
                # While one thread measures, the device multiplies for another.
                with ThreadPoolExecutor(self.threads) as workers:
                    list(workers.map(work, blocks))
        return squared, indices

    def _search_block(
        self,
        queries: NDArray[np.float32],
        squared: NDArray[np.float64],
        indices: NDArray[np.int64],
        pairs: OwnerPairs | None,
    ) -> None:
        """Go through the bank for one block of queries; with `pairs`, owner by owner."""
        table = self.table
        vectors, norms, _ = FrameFilter(table.frame).vectors(queries)
        vectors[~(norms <= FAR)] = 0
        near = torch.from_numpy(vectors).to(table.device)
        if pairs is None:
            for begin in range(0, table.count, self.block_rows):
                end = min(begin + self.block_rows, table.count)
                table.merge(near, queries, norms, begin, end, squared, indices)
            return
        for own in self.owned or ():
            values, found = pairs.begin()
            for begin, end in own:
                table.merge(near, queries, norms, begin, end, values, found)
            pairs.end()
