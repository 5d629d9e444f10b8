"""What a device's filter leaves, measured on the host: compiled by numba."""

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
    array,
    product_limit,
    squared_distance,
)
from common.patchcore.exact.search_kernels import FAR, insert


@compiled(
    types.void(
        array(F32, 2),
        array(F64, 1),
        array(F32, 2),
        array(I64, 1),
        array(I64, 2),
        array(I64, 2),
        F64,
        F64,
        F64,
        F64,
        array(F64, 2, False),
        array(I64, 2, False),
        array(F32, 1, False),
    )
)
def measure(
    queries: NDArray[np.float32],
    norms: NDArray[np.float64],
    rows: NDArray[np.float32],
    found: NDArray[np.int64],
    spans: NDArray[np.int64],
    plan: NDArray[np.int64],
    most: float,
    squared_scale: float,
    product: float,
    unit: float,
    values: NDArray[np.float64],
    indices: NDArray[np.int64],
    limits: NDArray[np.float32],
) -> None:
    """Merge the rows `found[spans[i, 0] : spans[i, 1]]` into the nearest rows of query i.

    `limits[i]` is afterwards the largest filter value of a row that may still be among the nearest;
    below all values for a query so far out that float32 says nothing about it.
    """
    scratch = np.empty(SCRATCH)
    k = values.shape[1]
    for i in range(queries.shape[0]):
        for p in range(spans[i, 0], spans[i, 1]):
            index = found[p]
            known = False
            for j in range(k):
                known |= indices[i, j] == index
            if not known:
                exact = squared_distance(queries[i], rows[index], plan, scratch)
                insert(values[i], indices[i], exact, index)
        if norms[i] <= FAR:
            drift = unit * (norms[i] + most)
            scaled = values[i, k - 1] * squared_scale
            limits[i] = product_limit(scaled, norms[i], most, product, drift)
        else:
            limits[i] = -np.inf
