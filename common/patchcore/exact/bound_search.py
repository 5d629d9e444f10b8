"""Exact nearest neighbours through a filter: products rule rows out, float64 measures the rest.

The bound by principal components leaves few rows with pretrained features, and all of them with
noise; the products may be bfloat16 ones where the processor is fast at them (see `_products`).
Both are safe against rounding, so they decide the time and never the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from common.patchcore.exact.blas import one_blas_thread, usable_threads
from common.patchcore.exact.filters import Filter, FrameFilter, fit_principal
from common.patchcore.exact.frame import Tolerance, fit_frame
from common.patchcore.exact.kernels import summation_plan
from common.patchcore.exact.owner_pairs import OwnerPairs, Span, flat, owner_spans
from common.patchcore.exact.products import (
    Products,
    fast_bfloat16,
    one_torch_thread,
    use_one_torch_thread,
)
from common.patchcore.exact.search_kernels import search

_QUERIES = 512
_ROWS = 4096
_TRIAL_WORK = 10_000_000_000  # products of a plain search that cost about as much as the trial
_TRIAL_QUERIES = 128
_TRIAL_ROWS = 2048
_TRIAL_COMPONENTS = (31, 63, 127, 255)

# Nanoseconds, roughly, on any recent processor: only their ratios matter, and only for the choice.
_PRODUCT = 0.02  # one multiply-add of a matrix product
_SCAN = 0.2  # looking at one product
_WORTH = 0.8  # of the plain cost: a new table must gain something for certain
_FETCH = 50.0  # reaching a row
_NUMBER = 0.25  # each of the numbers to be compared with it
_COMPARED = 256  # numbers after which most rows are known to be too far


class _Table:
    """The bank's vectors under one filter, as the products need them."""

    def __init__(
        self,
        rows: NDArray[np.float32],
        chosen: Filter,
        bfloat16: bool,
        spans: Sequence[Span] | None = None,
    ) -> None:
        self.filter = chosen
        self.products = Products(chosen.width, bfloat16)
        norms, drifts = np.empty(len(rows)), np.empty(len(rows))
        # Part by part: never is there a second copy of the bank in float32.
        self.spans = spans or [(at, at + _ROWS) for at in range(0, len(rows), _ROWS)]
        for begin, end in self.spans:
            part = slice(begin, end)
            vectors, norms[part], drifts[part] = chosen.vectors(rows[part])
            self.products.append(vectors, norms[part], drifts[part])
        self.offsets = (norms**2).astype(np.float32)
        self.most = float(norms.max()) * (1 + 1e-6)
        self.drift = float(drifts.max())


class BoundSearch:
    """Search one bank; the way is chosen by a trial, the result does not depend on it.

    Parameters
    ----------
    rows : array of shape (m, d), float32, C-contiguous, finite
    threads : int, optional
    bfloat16 : bool, optional
        Number format of the products; by default what the processor is faster at.
    owners : array of shape (m,), optional
        Who brought each row: sorted, for `nearest_two`.

    Notes
    -----
    Memory beside the rows: one copy of them in the frame, a share (p + 1) / d of another once the
    bound by p principal components is in use (half of both in bfloat16), and about 10 MB a thread.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        threads: int | None = None,
        bfloat16: bool | None = None,
        owners: NDArray[np.integer] | None = None,
    ) -> None:
        m, d = rows.shape
        self.rows = rows
        self.owned = None if owners is None else owner_spans(owners, _ROWS)
        self.threads = usable_threads(threads)
        self.frame = fit_frame(rows)
        self.plan = summation_plan(d)
        self.direct = Tolerance.of(d).direct
        # Float32 differences of the rows as they are must neither overflow nor lose their digits.
        usual = 2.0**-60 <= self.frame.scale <= 2.0**60 and np.abs(self.frame.mean).max() < 2.0**60
        self.direct_scale = np.float32(self.frame.scale if usual else 0)
        self.bfloat16 = fast_bfloat16() if bfloat16 is None else bfloat16
        self.plain = self.table(FrameFilter(self.frame))
        self.product = _PRODUCT * self.plain.products.format.cost
        self.bound: _Table | None = None
        self.work = 0
        # The share of rows left from which on the plain products cost less than measuring them.
        self.measuring = _FETCH + _NUMBER * min(d, _COMPARED)
        self.worth_measuring = d * self.product / self.measuring
        self.tried = m < 1024 or d < 128

    def table(self, chosen: Filter) -> _Table:
        """The rows under a filter."""
        spans = None if self.owned is None else flat(self.owned)
        return _Table(self.rows, chosen, self.bfloat16, spans)

    def nearest(
        self, queries: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return squared distances and indices, both (q, k), nearest first."""
        return self._found(queries, k, None)

    def nearest_two(
        self, queries: NDArray[np.float32], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the nearest row and the nearest one of all other owners, as `OwnerPairs` has them.

        Parameters
        ----------
        queries : array of shape (q, d), float32
        places : array of shape (m,), int64
            Of the rows before they were sorted by owner.
        """
        return self._found(queries, 2, places)

    def _found(
        self, queries: NDArray[np.float32], k: int, places: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        self.work += len(queries) * self.rows.size
        with one_blas_thread(), one_torch_thread(), np.errstate(invalid="ignore", over="ignore"):
            if not self.tried and self.work >= _TRIAL_WORK and len(queries) >= _TRIAL_QUERIES:
                self.tried = True
                sample = np.ascontiguousarray(queries[:: len(queries) // _TRIAL_QUERIES])
                # With a single owner the second is infinitely far.
                reach = self._search(sample, k, places)[0]
                self._choose_filter(sample, np.where(np.isfinite(reach), reach, 0).max(axis=1))
            return self._search(queries, k, places)

    def _search(
        self, queries: NDArray[np.float32], k: int, owned: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Search by the bound if there is one; what it fails goes the plain way."""
        squared = np.full((len(queries), k), np.inf)
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        if self.bound is None:
            self._scan_blocks(self.plain, 1.0, queries, squared, indices, owned)
            return squared, indices
        worth = self.worth_measuring
        failed = self._scan_blocks(self.bound, worth, queries, squared, indices, owned)
        if len(failed):
            again = np.full((len(failed), k), np.inf)
            places = np.full((len(failed), k), -1, dtype=np.int64)
            self._scan_blocks(self.plain, 1.0, queries[failed], again, places, owned)
            squared[failed], indices[failed] = again, places
        return squared, indices

    def _scan_blocks(
        self,
        table: _Table,
        most_left: float,
        queries: NDArray[np.float32],
        squared: NDArray[np.float64],
        indices: NDArray[np.int64],
        owned: NDArray[np.int64] | None,
    ) -> NDArray[np.int64]:
        """Scan one table for all queries, blocks of them side by side; return those that fail."""
        # Small enough that every thread has a block; never so small that products are slow.
        size = min(_QUERIES, max(64, -(-len(queries) // self.threads)))
        blocks = [slice(i, i + size) for i in range(0, len(queries), size)]
        left = np.zeros(len(queries), dtype=np.int64)
        most = math.ceil(most_left * len(self.rows))

        def work(block: slice) -> None:
            pairs = OwnerPairs(owned, squared[block], indices[block]) if owned is not None else None
            self._scan_table(
                table, most, queries[block], squared[block], indices[block], left[block], pairs
            )

        if self.threads == 1 or len(blocks) <= 1:
            for block in blocks:
                work(block)
        else:
            with ThreadPoolExecutor(self.threads, initializer=use_one_torch_thread) as workers:
                list(workers.map(work, blocks))
        return np.flatnonzero(left > most)

    def _scan_table(
        self,
        table: _Table,
        most_left: int,
        queries: NDArray[np.float32],
        squared: NDArray[np.float64],
        indices: NDArray[np.int64],
        left: NDArray[np.int64],
        pairs: OwnerPairs | None,
    ) -> None:
        """Go through one table for one block of queries, counting the rows left for each.

        With `pairs`, owner by owner, each in lists of their own.
        """
        vectors, norms, drifts = table.filter.vectors(queries)
        prepared = table.products.format.prepare(vectors, norms, drifts)
        starts = {own[0][0] for own in self.owned or ()}
        for number, (begin, end) in enumerate(table.spans):
            if pairs is not None and begin in starts:
                if begin:
                    pairs.end()
                squared, indices = pairs.begin()
            products, halves = table.products(prepared, number)
            search(
                queries,
                norms,
                drifts + table.drift,
                products,
                halves,
                table.offsets[begin:end],
                table.most,
                self.rows,
                begin,
                self.plan,
                self.frame.scale**2,
                table.products.format.error,
                self.direct,
                self.direct_scale,
                most_left,
                left,
                squared,
                indices,
            )
        if pairs is not None:
            pairs.end()

    def _choose_filter(
        self, queries: NDArray[np.float32], squared_reach: NDArray[np.float64]
    ) -> None:
        """Count what each filter would leave to be measured, and keep the cheapest.

        What is wanted of each query lies within its reach.

        Counts and typical costs decide, not a stopwatch: another process on the machine must
        not tip the choice for good.
        """
        m, d = self.rows.shape
        farthest = np.sqrt(squared_reach) * self.frame.scale
        counts = [count for count in _TRIAL_COMPONENTS if count < min(d // 2, m)]
        principal = fit_principal(self.rows, self.frame, counts[-1])
        sample = np.ascontiguousarray(self.rows[:: max(1, m // _TRIAL_ROWS)])
        plain = d * self.product + _SCAN
        best, cheapest = 0, plain * _WORTH
        for count in counts:
            chosen = principal.leading(count)
            near, norms, drifts = chosen.vectors(sample)
            far, lengths, slips = chosen.vectors(queries)
            squared = norms**2 + (lengths**2)[:, None] - 2.0 * (far @ near.T)
            reach = farthest + slips + drifts.max()
            left = (squared <= (reach**2)[:, None]).mean(axis=1)
            failed = left > self.worth_measuring
            rest = np.where(failed, plain, left * self.measuring).mean()
            cost = (count + 1) * self.product + _SCAN + float(rest)
            if cost < cheapest:
                best, cheapest = count, cost
        if best:
            self.bound = self.table(principal.leading(best))
