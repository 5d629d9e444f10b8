"""The frame in which float32 products may stand in for exact distances, and how far they err.

A product matrix (GEMM) gives |a|^2 + |b|^2 - 2ab for thousands of pairs at once, but in float32 it
loses digits. It is used as a filter alone: a pair whose value exceeds what the exact distance could
give, worst case, is dropped; every other pair is measured again by direct differences in
float64. What is kept and returned is therefore exact, whatever the BLAS library did.

Rows are moved to their mean and scaled by a power of two so that every norm is at most 1: the mean
of patch features after a ReLU is large and would cost digits, and float32 squares of
very small or large features would leave the range of float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.patchcore.exact.kernels import largest_squared_norm

UNIT = 2.0**-24  # unit roundoff of float32
_MEAN_ROWS = 16384  # any point near the middle will do as the origin: a sample is enough


@dataclass(frozen=True)
class Frame:
    """An origin and a scale: x becomes float32((x - mean) * scale).

    Attributes
    ----------
    mean : array of shape (d,), float64
    scale : float
        A power of two.
    """

    mean: NDArray[np.float64]
    scale: float


def fit_frame(*groups: NDArray[np.float32]) -> Frame:
    """Find the frame in which every row of every group has norm at most 1."""
    rows = max(groups, key=len)
    sample = rows[:: max(1, len(rows) // _MEAN_ROWS)]
    mean = sample.mean(axis=0, dtype=np.float64)
    largest = max(math.sqrt(largest_squared_norm(group, mean)) for group in groups if len(group))
    # frexp: largest = f * 2**e with f < 1, so largest * 2**-e < 1; one more bit for rounding.
    scale = math.ldexp(1.0, -math.frexp(largest)[1] - 1) if largest > 0 else 1.0
    return Frame(mean, scale)


@dataclass(frozen=True)
class Tolerance:
    """Worst-case constants for vectors of `width` numbers in the frame.

    Let a, b be the float32 vectors in the frame, A and B their norms, D the scaled true distance.

    * Rounding into the frame moves a vector by at most `u A` (+ `tiny` where it underflows),
      hence `|a - b| <= D + u (A + B) + tiny`.
    * `fl(|b|^2) + fl(a . -2b)` differs from `|a - b|^2 - A^2` by at most
      `(w/2 + 4) u (A + B)^2 + floor` in any order of summation, fused or not (Higham, "Accuracy and
      stability of numerical algorithms", 2002, section 3.1: error of a dot product at most
      `gamma_w |a| |b|`, and `4 |a| |b| <= (|a| + |b|)^2`).
    * A direct float32 sum of squared differences is at most `1 + gamma_(w+4)` times too large.

    Attributes
    ----------
    product : float
        Factor of (A + B)^2 in the error of a product.
    direct : float
        Relative error of a direct float32 squared distance.
    """

    product: float
    direct: float

    @staticmethod
    def of(width: int) -> Tolerance:
        """Return the constants for vectors of `width` numbers."""
        gamma = (width + 8) * UNIT / (1 - (width + 8) * UNIT)
        return Tolerance(product=gamma / 2 + 4 * UNIT, direct=gamma)
