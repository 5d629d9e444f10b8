"""Rounding to bfloat16 and reading it back, compiled by numba."""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from common.patchcore.exact.compiled import compiled
from common.patchcore.exact.kernels import F32, F64, array

U16 = types.uint16


@compiled(
    types.void(array(F32, 2), array(U16, 2, False), array(F64, 1, False), array(F64, 1, False)),
    fastmath={"reassoc", "contract"},
)
def to_bfloat16(
    vectors: NDArray[np.float32],
    out: NDArray[np.uint16],
    norms: NDArray[np.float64],
    drifts: NDArray[np.float64],
) -> None:
    """Round vectors to bfloat16 (nearest, ties to even): the upper halves of their float32 bits.

    `norms` become those of the rounded vectors; `drifts` grow by how far each vector moved.
    """
    for i in range(vectors.shape[0]):
        total = 0.0
        moved = 0.0
        for j in range(vectors.shape[1]):
            bits = np.float32(vectors[i, j]).view(np.uint32)
            even = np.uint32((bits >> np.uint32(16)) & np.uint32(1))
            half = np.uint32((bits + np.uint32(0x7FFF) + even) >> np.uint32(16))
            out[i, j] = np.uint16(half)
            value = np.float64(np.uint32(half << np.uint32(16)).view(np.float32))
            t = value - np.float64(vectors[i, j])
            total += value * value
            moved += t * t
        norms[i] = math.sqrt(total)
        drifts[i] += math.sqrt(moved) * (1 + 1e-6)


@compiled(F32(array(F32, 1), array(F32, 1), array(F32, 1, False)), internal=True)
def sums_of_floats(
    products: NDArray[np.float32], offsets: NDArray[np.float32], sums: NDArray[np.float32]
) -> np.float32:
    """Write `products + offsets` and return the smallest.

    Floats compare like sign-and-magnitude integers, and an integer minimum is what the compiler
    turns into vector instructions: ten times faster than comparing the floats.
    """
    magnitude = np.int32(0x7FFFFFFF)
    lowest = magnitude
    for j in range(products.shape[0]):
        value = np.float32(products[j] + offsets[j])
        sums[j] = value
        bits = value.view(np.int32)
        lowest = min(lowest, np.int32(bits ^ np.int32((bits >> np.int32(31)) & magnitude)))
    return np.int32(lowest ^ np.int32((lowest >> np.int32(31)) & magnitude)).view(np.float32)


@compiled(F32(array(U16, 1), array(F32, 1), array(F32, 1, False)), internal=True)
def sums_of_halves(
    products: NDArray[np.uint16], offsets: NDArray[np.float32], sums: NDArray[np.float32]
) -> np.float32:
    """Do the same with bfloat16 products."""
    magnitude = np.int32(0x7FFFFFFF)
    lowest = magnitude
    for j in range(products.shape[0]):
        product = np.uint32(np.uint32(products[j]) << np.uint32(16)).view(np.float32)
        value = np.float32(product + offsets[j])
        sums[j] = value
        bits = value.view(np.int32)
        lowest = min(lowest, np.int32(bits ^ np.int32((bits >> np.int32(31)) & magnitude)))
    return np.int32(lowest ^ np.int32((lowest >> np.int32(31)) & magnitude)).view(np.float32)
