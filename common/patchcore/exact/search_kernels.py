"""Inner loop of the nearest-neighbour search, compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from common.patchcore.exact.compiled import compiled
from common.patchcore.exact.kernels import (
    F32,
    F64,
    I64,
    SCRATCH,
    SLACK,
    array,
    count_within,
    next_within,
    product_limit,
    round_up,
    squared_distance,
)
from common.patchcore.exact.products_kernels import U16, sums_of_floats, sums_of_halves

#: Norm in the frame from which on a query is so far out that float32 says nothing about it.
FAR = 1e6
_CHUNK = 256


@compiled(F32(array(F32, 1), array(F32, 1), F32), fastmath=True, internal=True)
def _direct_part(a: NDArray[np.float32], b: NDArray[np.float32], scale: np.float32) -> np.float32:
    """Squared distance in float32 in the frame's scale, summed in any order."""
    total = np.float32(0)
    for j in range(a.shape[0]):
        t = (a[j] - b[j]) * scale
        total += t * t
    return total


@compiled(types.boolean(array(F32, 1), array(F32, 1), F32, F32), internal=True)
def _direct_within(
    a: NDArray[np.float32], b: NDArray[np.float32], scale: np.float32, limit: np.float32
) -> bool:
    """Tell whether the float32 squared distance stays within the limit; most soon do not."""
    total = np.float32(0)
    for begin in range(0, a.shape[0], 256):
        end = min(begin + 256, a.shape[0])
        total = np.float32(total + _direct_part(a[begin:end], b[begin:end], scale))
        if total > limit:
            return False
    return True


@compiled(F32(F64, F64), internal=True)
def _direct_limit(squared: float, direct: float) -> np.float32:
    """Largest float32 squared distance that a pair at most `sqrt(squared)` apart can show."""
    return round_up(squared * (1 + SLACK) * (1 + direct))


@compiled(
    types.void(array(F64, 1, False), array(I64, 1, False), F64, I64),
    internal=True,
)
def insert(
    values: NDArray[np.float64], indices: NDArray[np.int64], value: float, index: int
) -> None:
    """Put a row into the sorted list of the nearest, if it belongs there; ties by index."""
    place = values.shape[0]
    while place > 0 and (
        value < values[place - 1] or (value == values[place - 1] and index < indices[place - 1])
    ):
        place -= 1
    if place == values.shape[0]:
        return
    for p in range(values.shape[0] - 1, place, -1):
        values[p] = values[p - 1]
        indices[p] = indices[p - 1]
    values[place] = value
    indices[place] = index


@compiled(
    types.void(
        array(F32, 2),
        array(F64, 1),
        array(F64, 1),
        array(F32, 2),
        array(U16, 2),
        array(F32, 1),
        F64,
        array(F32, 2),
        I64,
        array(I64, 2),
        F64,
        F64,
        F64,
        F32,
        I64,
        array(I64, 1, False),
        array(F64, 2, False),
        array(I64, 2, False),
    )
)
def search(
    queries: NDArray[np.float32],
    norms: NDArray[np.float64],
    drifts: NDArray[np.float64],
    products: NDArray[np.float32],
    halves: NDArray[np.uint16],
    offsets: NDArray[np.float32],
    most: float,
    rows: NDArray[np.float32],
    begin: int,
    plan: NDArray[np.int64],
    squared_scale: float,
    product: float,
    direct: float,
    direct_scale: np.float32,
    most_left: int,
    left: NDArray[np.int64],
    values: NDArray[np.float64],
    indices: NDArray[np.int64],
) -> None:
    """Merge a block of bank rows into the nearest rows found so far.

    `products[i, j] + offsets[j]` is the filter's value of query i and `rows[begin + j]`; bfloat16
    products come as `halves`, and `products` is empty then. First
    the most promising row of each of k parts is measured, so that the limit is tight from the
    start; then every row that the filter cannot rule out, unless a float32 sum of squared
    differences rules it out (`direct_scale` 0: no such sums). `left` counts the rows that the
    filter left over all blocks; a query with more than `most_left` is given up, since a better
    filter is cheaper than measuring them.
    """
    scratch = np.empty(SCRATCH)
    n = offsets.shape[0]
    k = values.shape[1]
    # Chunks whose smallest sum exceeds the limit, nearly all of them, are not looked at again.
    width = min(_CHUNK, (n + k - 1) // k)
    chunks = (n + width - 1) // width
    sums = np.empty(n, dtype=np.float32)
    zeros = np.zeros(width, dtype=np.float32)
    lowest = np.empty(chunks, dtype=np.float32)
    for i in range(queries.shape[0]):
        if left[i] > most_left:
            continue
        if not norms[i] <= FAR:
            for j in range(n):
                exact = squared_distance(queries[i], rows[begin + j], plan, scratch)
                insert(values[i], indices[i], exact, begin + j)
            continue
        for c in range(chunks):
            start = c * width
            stop = min(start + width, n)
            part, added = sums[start:stop], offsets[start:stop]
            if products.shape[0] > 0:
                lowest[c] = sums_of_floats(products[i, start:stop], added, part)
            else:
                lowest[c] = sums_of_halves(halves[i, start:stop], added, part)
        worst = values[i, k - 1]
        limit = product_limit(worst * squared_scale, norms[i], most, product, drifts[i])
        for p in range(k):
            first, last = p * chunks // k, (p + 1) * chunks // k
            best = first
            for c in range(first, last):
                if lowest[c] < lowest[best]:
                    best = c
            if first < last and lowest[best] <= limit:
                start = best * width
                part = sums[start : min(start + width, n)]
                j = start + next_within(part, zeros[: part.shape[0]], lowest[best], 0)
                exact = squared_distance(queries[i], rows[begin + j], plan, scratch)
                insert(values[i], indices[i], exact, begin + j)
        worst = values[i, k - 1]
        limit = product_limit(worst * squared_scale, norms[i], most, product, drifts[i])
        for c in range(chunks):
            if lowest[c] <= limit:
                part = sums[c * width : min((c + 1) * width, n)]
                left[i] += count_within(part, zeros[: part.shape[0]], limit)
        if left[i] > most_left:
            continue
        direct_limit = _direct_limit(worst * squared_scale, direct)
        for c in range(chunks):
            if lowest[c] > limit:
                continue
            start = c * width
            part = sums[start : min(start + width, n)]
            none = zeros[: part.shape[0]]
            j = next_within(part, none, limit, 0)
            while j < part.shape[0]:
                index = begin + start + j
                known = False
                for p in range(k):
                    known |= indices[i, p] == index
                if not known and (
                    direct_scale == 0
                    or _direct_within(queries[i], rows[index], direct_scale, direct_limit)
                ):
                    exact = squared_distance(queries[i], rows[index], plan, scratch)
                    insert(values[i], indices[i], exact, index)
                    if values[i, k - 1] < worst:
                        worst = values[i, k - 1]
                        scaled = worst * squared_scale
                        limit = product_limit(scaled, norms[i], most, product, drifts[i])
                        direct_limit = _direct_limit(scaled, direct)
                j = next_within(part, none, limit, j + 1)
