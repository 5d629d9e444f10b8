"""Exact farthest-first selection at the speed of matrix products.

The plain loop reads all n rows for every choice and waits for memory. Here most rows wait: a row's
distance to the centers it has seen is an upper bound of its true distance, and while that bound is
not among the largest, the row need not be looked at (lazy greedy; Minoux, 1978). A phase is

1. bring the rows with the largest bounds up to date, blocks of rows against blocks of pending
   centers by one matrix product each, until enough of them exceed every bound not yet looked at;
2. take the farthest of these into a pool that fits the cache, and choose inside it until it no
   longer holds the farthest row of all.

Products are only a filter (see `_frame`): bounds are float64 direct differences throughout.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore.exact.blas import one_blas_thread, usable_threads
from common.patchcore.exact.frame import UNIT, Tolerance, fit_frame
from common.patchcore.exact.kcenter_kernels import bucket_order, pick, scan
from common.patchcore.exact.kernels import summation_plan, to_frame
from common.patchcore.exact.products import (
    NumberFormat,
    fast_bfloat16,
    one_torch_thread,
    use_one_torch_thread,
)

if TYPE_CHECKING:
    from common.patchcore.exact.device_cover import DeviceCover

BLOCK_ROWS = 1024
BLOCK_CENTERS = 512
_POOL_BYTES = 2 << 20
_BUCKETS = 8192
_BATCH_ROWS = 1 << 16
_POOL_SHARE = 0.25
_ROUNDING = UNIT * (1 + 1e-6)  # into the frame moves a vector by this share of its norm at most
_NOTHING = (-1.0, 0)  # comes after every row


class Progress(Protocol):
    """Is told how many of how many rows are chosen."""

    def __call__(self, done: int, total: int, /) -> None:
        """Take note of it."""


def _bound(squared: float, row: int) -> tuple[float, int]:
    """Return a key that is larger for rows that come first: larger bound, then lower index."""
    return float(squared), -int(row)


class _Workspace:
    """Memory of one thread, used again and again: fresh pages would cost like the products."""

    def __init__(self, width: int, block_rows: int) -> None:
        self.rows = np.empty((block_rows, width), dtype=np.float32)
        self.near = np.empty((block_rows, width), dtype=np.float32)


class Selection:
    """One run of the selection over rows that do not change.

    Parameters
    ----------
    rows : array of shape (n, d), float32, C-contiguous, finite
    size : int
        From 1 to n.
    known : array of shape (m, d), float32
        Centers chosen elsewhere.
    stop_radius : float
        Negative: none.
    threads : int, optional
    block_rows, block_centers, pool_rows : int, optional
        Sizes of the working blocks. They change nothing but the time.
    bfloat16 : bool, optional
        Number format of the processor's products; by default what it is faster at. Changes nothing
        but the time.
    device : torch.device, optional
        Multiplies instead of the processor (see `DeviceCover`); what it leaves is measured here.
        Changes nothing but the time.
    device_blocks : (int, int), optional
        Rows and centers that the device multiplies at a time.

    Raises
    ------
    DeviceUnfit
        Here or in `run`: the device cannot do it. Nothing of this selection is worth keeping then.

    Notes
    -----
    16 bytes of state a row (bound, centers seen, place in the order), two copies of the centers
    (as they are, and in the products' number format), and about 3 MB a thread; 8 more bytes a row
    with a device.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        size: int,
        known: NDArray[np.float32],
        stop_radius: float,
        threads: int | None = None,
        block_rows: int = BLOCK_ROWS,
        block_centers: int = BLOCK_CENTERS,
        pool_rows: int | None = None,
        bfloat16: bool | None = None,
        device: torch.device | None = None,
        device_blocks: tuple[int, int] | None = None,
    ) -> None:
        n, d = rows.shape
        self.rows, self.size, self.known, self.stop_radius = rows, size, known, stop_radius
        self.threads = usable_threads(threads)
        self.block_rows, self.block_centers = block_rows, block_centers
        self.pool_rows = pool_rows or min(4096, max(256, _POOL_BYTES // (4 * d)))
        self.frame = fit_frame(rows, known)
        self.tolerance = Tolerance.of(d)
        self.plan = summation_plan(d)
        self.squared = np.full(n, np.inf)
        self.seen = np.zeros(n, dtype=np.int32)
        self.order = np.empty(n, dtype=np.int32)
        self.ends = np.empty(_BUCKETS, dtype=np.int64)
        self.chosen = np.empty(size, dtype=np.int64)
        self.radii = np.zeros(size)
        self.count = 0
        # Centers as they are, in the frame times -2, and their squared norms and drifts there.
        self.format = NumberFormat(d, fast_bfloat16() if bfloat16 is None else bfloat16)
        self.centers = np.empty((len(known) + size, d), dtype=np.float32)
        self.doubled = torch.empty((len(known) + size, d), dtype=self.format.dtype)
        self.offsets = np.empty(len(known) + size, dtype=np.float32)
        self.drifts = np.empty(len(known) + size)
        self.n_centers = 0
        self.device: DeviceCover | None = None
        if device is not None:
            from common.patchcore.exact.device_cover import DeviceCover

            self.device = DeviceCover(rows, self.centers, self.frame, device, device_blocks)
        self.spaces: SimpleQueue[_Workspace] = SimpleQueue()
        for _ in range(self.threads):
            self.spaces.put(_Workspace(d, block_rows))
        self._append_centers(known, np.arange(len(known)))

    def run(self, start: int | None, progress: Progress | None) -> None:
        """Choose until done; `chosen[:count]` and `radii[:count]` hold the result."""
        with ExitStack() as stack:
            stack.enter_context(one_blas_thread())
            stack.enter_context(one_torch_thread())
            workers = None
            if self.threads > 1:
                workers = stack.enter_context(
                    ThreadPoolExecutor(self.threads, initializer=use_one_torch_thread)
                )
            if start is not None and self._may_start(workers):
                self._choose(start)
            while self._phase(workers):
                if progress is not None:
                    progress(self.count, self.size)
        if progress is not None:
            progress(self.count, self.size)

    def _may_start(self, workers: ThreadPoolExecutor | None) -> bool:
        """Tell whether the given centers leave anything to do before a first row is forced."""
        if len(self.known) == 0 or self.stop_radius < 0:
            return True
        self._refresh(np.arange(len(self.rows)), workers)
        return bool(np.sqrt(self.squared.max()) > self.stop_radius)

    def _choose(self, row: int) -> None:
        """Take one row."""
        self.chosen[self.count] = row
        self.squared[row] = -1.0
        self.count += 1
        self._append_centers(self.rows, self.chosen[self.count - 1 : self.count])

    def _append_centers(self, source: NDArray[np.float32], index: NDArray[np.int64]) -> None:
        """Prepare new centers for the products."""
        begin, end = self.n_centers, self.n_centers + len(index)
        self.centers[begin:end] = source[index]
        near = np.empty((len(index), source.shape[1]), dtype=np.float32)
        vectors, norms, drifts = self._vectors(self.centers[begin:end], near)
        torch.mul(vectors, -2, out=self.doubled[begin:end])  # exact
        self.offsets[begin:end] = norms**2
        self.drifts[begin:end] = drifts
        self.n_centers = end

    def _phase(self, workers: ThreadPoolExecutor | None) -> bool:
        """Refresh, gather a pool, choose inside it; False when the run is over."""
        if self.count == len(self.rows):
            return False
        members, bound = self._gather(workers)
        rows = self.rows[members]
        pool = np.empty_like(rows)
        norms = self._into_frame(rows, pool)
        before = self.count
        result = pick(
            rows,
            pool,
            self.plan,
            members,
            self.squared[members],
            norms,
            bound[0],
            -bound[1],
            self.stop_radius,
            self.frame.scale**2,
            _ROUNDING,
            self.tolerance.direct,
            len(self.known),
            self.count,
            self.size,
            self.chosen,
            self.radii,
            self.squared,
            self.seen,
        )
        self.count = result if result >= 0 else -1 - result
        self._append_centers(self.rows, self.chosen[before : self.count])
        if result >= 0:
            return True
        if self.count < self.size and self.stop_radius < 0:
            self._take_duplicates()
        return False

    def _take_duplicates(self) -> None:
        """Every row left lies on a center: take the lowest of them, at radius 0."""
        left = np.flatnonzero(self.squared >= 0)[: self.size - self.count]
        self.chosen[self.count : self.count + len(left)] = left
        self.count += len(left)

    def _gather(
        self, workers: ThreadPoolExecutor | None
    ) -> tuple[NDArray[np.int64], tuple[float, int]]:
        """Bring rows up to date, largest bounds first, until enough stand out from the rest."""
        total = bucket_order(self.squared, self.order, self.ends)
        batch = min(max(8 * self.block_rows, total // 64), _BATCH_ROWS)
        top = np.empty(0, dtype=np.int64)
        rest = outside = _NOTHING
        place = 0
        while place < total:
            # Whole buckets: every bound after the end of a bucket is smaller.
            bucket = int(np.searchsorted(self.ends, min(place + batch, total)))
            end = int(self.ends[bucket])
            for begin in range(place, end, _BATCH_ROWS):
                fresh = self.order[begin : min(begin + _BATCH_ROWS, end)].astype(np.int64)
                self._refresh(fresh, workers)
                top, rest = self._keep_top(np.concatenate([top, fresh]), rest)
            place = end
            outside = self._first_of(place, total)
            if self._count_before(top, outside) >= self.pool_rows * _POOL_SHARE:
                break
        return top[: self._count_before(top, outside)], max(rest, outside)

    def _keep_top(
        self, members: NDArray[np.int64], rest: tuple[float, int]
    ) -> tuple[NDArray[np.int64], tuple[float, int]]:
        """Keep the first `pool_rows` members, in order, and the first of what was left out."""
        values = self.squared[members]
        if len(members) > self.pool_rows:
            cut = np.partition(values, -self.pool_rows - 1)[-self.pool_rows - 1]
            members, values = members[values >= cut], values[values >= cut]
        order = np.lexsort((members, -values))
        members, values = members[order], values[order]
        if len(members) > self.pool_rows:
            left_out = _bound(values[self.pool_rows], members[self.pool_rows])
            rest = max(rest, left_out)
        return members[: self.pool_rows], rest

    def _first_of(self, place: int, total: int) -> tuple[float, int]:
        """Return the bound of the rows of `order[place:total]`: it lies in their first bucket."""
        if place == total:
            return _NOTHING
        end = int(self.ends[np.searchsorted(self.ends, place, side="right")])
        rows = self.order[place:end]
        values = self.squared[rows]
        first = int(values.argmax())  # rows of a bucket are in order: the lowest of a tie
        return _bound(values[first], rows[first])

    def _count_before(self, members: NDArray[np.int64], bound: tuple[float, int]) -> int:
        """Count the members (in order) that come before the bound."""
        value, row = bound[0], -bound[1]
        values = self.squared[members]
        return int(np.sum((values > value) | ((values == value) & (members < row))))

    def _refresh(self, index: NDArray[np.int64], workers: ThreadPoolExecutor | None) -> None:
        """Bring the rows of `index` up to date with all centers."""
        stale = index[self.seen[index] < self.n_centers]
        # Rows that have seen equally many centers share their blocks.
        stale = stale[np.argsort(self.seen[stale], kind="stable")]
        if self.device is not None:
            self.device.refresh(stale, self.squared, self.seen, self.n_centers, workers)
            return
        blocks = [stale[i : i + self.block_rows] for i in range(0, len(stale), self.block_rows)]
        if workers is None or len(blocks) == 1:
            for block in blocks:
                self._refresh_block(block)
        else:
            list(workers.map(self._refresh_block, blocks))

    def _refresh_block(self, members: NDArray[np.int64]) -> None:
        """Lower the bounds of one block by every center that its first row has not seen."""
        space = self.spaces.get()
        rows, near = space.rows[: len(members)], space.near[: len(members)]
        # `take` fetches several rows at once, where a compiled loop would wait for each.
        self.rows.take(members, axis=0, out=rows, mode="clip")
        vectors, norms, drifts = self._vectors(rows, near)
        bounds = self.squared[members]
        for begin in range(int(self.seen[members[0]]), self.n_centers, self.block_centers):
            end = min(begin + self.block_centers, self.n_centers)
            products, halves = self.format.multiply(vectors, self.doubled[begin:end])
            offsets = self.offsets[begin:end]
            scan(
                rows,
                norms,
                drifts,
                self.centers[begin:end],
                float(np.sqrt(np.float64(offsets.max()))) * (1 + 1e-6),
                float(self.drifts[begin:end].max()),
                products,
                halves,
                offsets,
                self.plan,
                self.frame.scale**2,
                self.format.error,
                bounds,
            )
        self.squared[members] = bounds
        self.seen[members] = self.n_centers
        self.spaces.put(space)

    def _vectors(
        self, rows: NDArray[np.float32], near: NDArray[np.float32]
    ) -> tuple[torch.Tensor, NDArray[np.float64], NDArray[np.float64]]:
        """Return rows as they are multiplied, their norms, and how far they were moved."""
        norms = self._into_frame(rows, near)
        drifts = _ROUNDING * norms
        return self.format.prepare(near, norms, drifts), norms, drifts

    def _into_frame(
        self, rows: NDArray[np.float32], out: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """Write rows into the frame and return their norms there."""
        norms = np.empty(len(rows))
        to_frame(rows, self.frame.mean, self.frame.scale, out, norms)
        return norms
