"""Inner loops of the farthest-first selection, compiled by numba."""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from common.patchcore.exact.compiled import compiled
from common.patchcore.exact.kernels import (
    F32,
    F64,
    I32,
    I64,
    SCRATCH,
    SLACK,
    UNDERFLOW,
    array,
    count_within,
    next_within,
    product_limit,
    squared_distance,
)
from common.patchcore.exact.products_kernels import U16, sums_of_floats, sums_of_halves

_OCTAVE_BITS = 10  # buckets per factor of two: 2**10


@compiled(I64(array(F64, 1), array(I32, 1, False), array(I64, 1, False)))
def bucket_order(
    squared: NDArray[np.float64], order: NDArray[np.int32], ends: NDArray[np.int64]
) -> int:
    """Sort rows coarsely by falling bound, by a counting sort over the bounds' leading bits.

    Rows below 0 (chosen already) are left out. Fills `order` and `ends` (where each bucket of
    `order` ends) and returns the number of rows in `order`. Within a bucket rows keep their order.
    The last bucket takes everything smaller.
    """
    bits = squared.view(np.int64)
    shift = 52 - _OCTAVE_BITS
    top = np.int64(0)
    for i in range(bits.shape[0]):
        if squared[i] >= 0:
            top = max(top, bits[i] >> shift)
    last = ends.shape[0] - 1
    for b in range(last + 1):
        ends[b] = 0
    for i in range(bits.shape[0]):
        if squared[i] >= 0:
            ends[min(top - (bits[i] >> shift), last)] += 1
    total = 0
    for b in range(last + 1):
        count = ends[b]
        ends[b] = total
        total += count
    for i in range(bits.shape[0]):
        if squared[i] >= 0:
            b = min(top - (bits[i] >> shift), last)
            order[ends[b]] = i
            ends[b] += 1
    return total


@compiled(
    types.void(
        array(F32, 2),
        array(F64, 1),
        array(F64, 1),
        array(F32, 2),
        F64,
        F64,
        array(F32, 2),
        array(U16, 2),
        array(F32, 1),
        array(I64, 2),
        F64,
        F64,
        array(F64, 1, False),
    )
)
def scan(
    rows: NDArray[np.float32],
    norms: NDArray[np.float64],
    drifts: NDArray[np.float64],
    centers: NDArray[np.float32],
    most: float,
    most_drift: float,
    products: NDArray[np.float32],
    halves: NDArray[np.uint16],
    offsets: NDArray[np.float32],
    plan: NDArray[np.int64],
    squared_scale: float,
    product: float,
    bounds: NDArray[np.float64],
) -> None:
    """Lower the bounds of a block of rows by a block of centers.

    `products[i, j] + offsets[j]` is the filter's value of row i and center j; bfloat16 products
    come as `halves`, and `products` is empty then. `most` and `most_drift` are the largest norm and
    drift of the centers. A pair that the filter cannot rule out is measured exactly; the most
    promising one first, since it rules out most of the others.
    """
    scratch = np.empty(SCRATCH)
    sums = np.empty(offsets.shape[0], dtype=np.float32)
    zeros = np.zeros(offsets.shape[0], dtype=np.float32)
    for i in range(rows.shape[0]):
        best = bounds[i]
        drift = drifts[i] + most_drift
        limit = product_limit(best * squared_scale, norms[i], most, product, drift)
        if products.shape[0] > 0:
            lowest = sums_of_floats(products[i], offsets, sums)
        else:
            lowest = sums_of_halves(halves[i], offsets, sums)
        if lowest > limit:
            continue
        nearest = next_within(sums, zeros, lowest, 0)
        best = min(best, squared_distance(rows[i], centers[nearest], plan, scratch))
        limit = product_limit(best * squared_scale, norms[i], most, product, drift)
        # The nearest itself always remains within the limit.
        left = count_within(sums, zeros, limit) - 1
        j = -1
        while left > 0:
            j = next_within(sums, zeros, limit, j + 1)
            if j == offsets.shape[0]:
                break
            if j != nearest:
                left -= 1
                exact = squared_distance(rows[i], centers[j], plan, scratch)
                if exact < best:
                    best = exact
                    limit = product_limit(best * squared_scale, norms[i], most, product, drift)
        bounds[i] = best


@compiled(F32(array(F32, 1), array(F32, 1)), fastmath=True, internal=True)
def _direct(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Squared distance in float32, summed in any order."""
    total = np.float32(0)
    for j in range(a.shape[0]):
        t = a[j] - b[j]
        total += t * t
    return total


@compiled(F32(F64, F64, F64, F64), internal=True)
def _direct_limit(squared: float, norm: float, unit: float, direct: float) -> np.float32:
    """Largest `_direct` that a pair at most `sqrt(squared)` apart can show (norms at most 1)."""
    reach = math.sqrt(squared) * (1 + SLACK) + unit * (norm + 1)
    value = reach * reach * (1 + direct) + UNDERFLOW
    return np.float32(value + value * 2.0**-22)


@compiled(
    I64(
        array(F32, 2),
        array(F32, 2),
        array(I64, 2),
        array(I64, 1, False),
        array(F64, 1, False),
        array(F64, 1),
        F64,
        I64,
        F64,
        F64,
        F64,
        F64,
        I64,
        I64,
        I64,
        array(I64, 1, False),
        array(F64, 1, False),
        array(F64, 1, False),
        array(I32, 1, False),
    )
)
def pick(
    rows: NDArray[np.float32],
    pool: NDArray[np.float32],
    plan: NDArray[np.int64],
    members: NDArray[np.int64],
    values: NDArray[np.float64],
    norms: NDArray[np.float64],
    bound: float,
    bound_row: int,
    stop_radius: float,
    squared_scale: float,
    unit: float,
    direct: float,
    n_known: int,
    count: int,
    size: int,
    chosen: NDArray[np.int64],
    radii: NDArray[np.float64],
    squared: NDArray[np.float64],
    seen: NDArray[np.int32],
) -> int:
    """Choose inside the pool for as long as the farthest row of all is certainly in it.

    `rows` are the pool's, `pool` the same in the frame, all up to date; every row outside comes
    after (`bound`, `bound_row`) in the order "larger bound first, then lower index". So does a
    pool row once its distance has fallen that far: it leaves. Returns the number of rows chosen
    so far, negative (`-1 - count`) if the run is over: the size or the stop radius is reached,
    or the radius is 0.
    """
    n_pool = members.shape[0]
    place = np.empty(n_pool, dtype=np.int64)  # where in `pool` and `norms` a member is: rows stay
    limits = np.empty(n_pool, dtype=np.float32)
    scratch = np.empty(SCRATCH)
    for p in range(n_pool):
        place[p] = p
        limits[p] = _direct_limit(values[p] * squared_scale, norms[p], unit, direct)
    center = np.empty(pool.shape[1], dtype=np.float32)
    over = False
    while n_pool > 0:
        top = 0
        for p in range(1, n_pool):
            if values[p] > values[top] or (values[p] == values[top] and members[p] < members[top]):
                top = p
        radius = math.sqrt(values[top])
        if count > 0:
            radii[count - 1] = radius
        if count == size or radius <= stop_radius or radius == 0:
            over = True
            break
        row, source = members[top], place[top]
        chosen[count] = row
        squared[row] = -1.0
        count += 1
        for j in range(center.shape[0]):
            center[j] = pool[source, j]
        n_pool -= 1
        members[top] = members[n_pool]
        values[top] = values[n_pool]
        limits[top] = limits[n_pool]
        place[top] = place[n_pool]
        p = 0
        while p < n_pool:
            if _direct(pool[place[p]], center) <= limits[p]:
                exact = squared_distance(rows[place[p]], rows[source], plan, scratch)
                if exact < values[p]:
                    values[p] = exact
                    if exact < bound or (exact == bound and members[p] > bound_row):
                        squared[members[p]] = exact
                        seen[members[p]] = n_known + count
                        n_pool -= 1
                        members[p] = members[n_pool]
                        values[p] = values[n_pool]
                        limits[p] = limits[n_pool]
                        place[p] = place[n_pool]
                        continue
                    limits[p] = _direct_limit(exact * squared_scale, norms[place[p]], unit, direct)
            p += 1
    for p in range(n_pool):
        squared[members[p]] = values[p]
        seen[members[p]] = n_known + count
    return -1 - count if over else count
