"""Inner loops shared by the coreset selection and the search, compiled by numba.

Importing this module compiles (seconds, once per machine where the cache can be written), so it is
imported only for work that is worth it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from common.patchcore.exact.compiled import compiled
from common.patchcore.exact.lanes import eight_lane_sum

F32 = types.float32
F64 = types.float64
I64 = types.int64
I32 = types.int32


def array(dtype: types.Type, ndim: int, readonly: bool = True) -> types.Array:
    """Type of a C-contiguous array argument; a read-only one takes writable arrays, too."""
    return types.Array(dtype, ndim, "C", readonly=readonly)


#: Slack for float64 arithmetic, far above its rounding and far below float32's.
SLACK = 1e-11
#: More than underflow can take from any sum here, where norms are at most 1.
UNDERFLOW = 2.0**-100


def summation_plan(width: int) -> NDArray[np.int64]:
    """Say in which order NumPy sums `width` numbers: pairwise, over leaves of at most 128.

    Returns
    -------
    array of shape (leaves, 2), int64
        Where each leaf ends, and how many times the two latest partial sums are then added up.
    """
    plan: list[list[int]] = []

    def split(begin: int, end: int) -> None:
        if end - begin <= 128:
            plan.append([end, 0])
            return
        half = (end - begin) // 2
        half -= half % 8
        split(begin, begin + half)
        split(begin + half, end)
        plan[-1][1] += 1

    split(0, width)
    return np.array(plan, dtype=np.int64)


#: Length of the scratch array of `squared_distance`: a stack of partial sums.
SCRATCH = 64


@compiled(F64(array(F32, 1), array(F32, 1), array(I64, 2), array(F64, 1, False)), internal=True)
def squared_distance(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    plan: NDArray[np.int64],
    scratch: NDArray[np.float64],
) -> float:
    """Sum (a - b)^2 in float64, in the order of NumPy's own summation.

    Bit for bit `((a - b) ** 2).sum()` in float64, so that a loop written in NumPy finds the very
    same ties. Eight lanes a leaf, then the rest of it one by one.
    """
    begin = 0
    height = 0
    for leaf in range(plan.shape[0]):
        end = plan[leaf, 0]
        whole = end - (end - begin) % 8
        total = eight_lane_sum(a, b, begin, whole)
        for i in range(whole, end):
            t = np.float64(a[i]) - np.float64(b[i])
            total += t * t
        for _ in range(plan[leaf, 1]):
            height -= 1
            total = scratch[height] + total
        scratch[height] = total
        height += 1
        begin = end
    return scratch[0]


@compiled(F64(array(F32, 2), array(F64, 1)), fastmath=True)
def largest_squared_norm(rows: NDArray[np.float32], mean: NDArray[np.float64]) -> float:
    """Return the largest |row - mean|^2."""
    largest = 0.0
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            t = np.float64(rows[i, j]) - mean[j]
            total += t * t
        largest = max(largest, total)
    return largest


@compiled(
    types.void(array(F32, 2), array(F64, 1), F64, array(F32, 2, False), array(F64, 1, False)),
    fastmath=True,
)
def to_frame(
    rows: NDArray[np.float32],
    mean: NDArray[np.float64],
    scale: float,
    out: NDArray[np.float32],
    norms: NDArray[np.float64],
) -> None:
    """Write rows into the frame, and the norms of what was written."""
    for i in range(rows.shape[0]):
        total = 0.0
        for j in range(rows.shape[1]):
            value = np.float32((np.float64(rows[i, j]) - mean[j]) * scale)
            out[i, j] = value
            total += np.float64(value) * np.float64(value)
        norms[i] = math.sqrt(total)


@compiled(I64(array(F32, 1), array(F32, 1), F32), internal=True)
def count_within(
    products: NDArray[np.float32], offsets: NDArray[np.float32], limit: np.float32
) -> np.int64:
    """Count the places where the sum is at most `limit`."""
    count = np.int32(0)
    for j in range(products.shape[0]):
        count = np.int32(count + np.int32(products[j] + offsets[j] <= limit))
    return np.int64(count)


@compiled(I64(array(F32, 1), array(F32, 1), F32, I64), internal=True)
def next_within(
    products: NDArray[np.float32], offsets: NDArray[np.float32], limit: np.float32, begin: int
) -> int:
    """Return the first place from `begin` on where the sum is at most `limit`, or the length."""
    # Slices, since the compiler makes vector instructions only of loops that begin at 0.
    end = products.shape[0]
    start = begin
    while start < end:
        stop = min(start + 128, end)
        some, more = products[start:stop], offsets[start:stop]
        if count_within(some, more, limit) > 0:
            for j in range(stop - start):
                if some[j] + more[j] <= limit:
                    return start + j
        start = stop
    return end


@compiled(F32(F64), internal=True)
def round_up(value: float) -> np.float32:
    """Return a float32 not below the value."""
    return np.float32(value + abs(value) * 2.0**-22 + UNDERFLOW)


@compiled(F32(F64, F64, F64, F64, F64), internal=True)
def product_limit(
    squared: float, norm: float, most: float, product: float, drift: float
) -> np.float32:
    """Largest value of fl(|b|^2) + fl(-2ab) that a pair at most `sqrt(squared)` apart can show.

    `squared` in the frame's scale, `norm` of a, `most` the largest norm of the b, `product` as in
    `Tolerance`, `drift` how far both vectors together lie from where they should.
    """
    reach = math.sqrt(squared) * (1 + SLACK) + drift
    both = norm + most
    return round_up(reach * reach - norm * norm + product * both * both)
