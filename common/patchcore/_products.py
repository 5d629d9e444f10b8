"""Products of query vectors with a bank's vectors, as fast as the processor can: never exact.

The search asks only that the error has a bound, so the number format may be a short one. bfloat16
keeps 8 bits: rounding moves a vector by at most 2^-8 of its norm (the true distance it was moved
is known), and another 2^-8 of every product is lost when it is rounded in turn. Both are small
beside the distances that matter, so few rows more are left to be measured, and processors with
bfloat16 instructions multiply at twice the speed or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore._cpu_trunk import fused_convolutions
from common.patchcore._frame import Tolerance
from common.patchcore._products_kernels import to_bfloat16

_NO_FLOATS = np.empty((0, 0), dtype=np.float32)
_NO_HALVES = np.empty((0, 0), dtype=np.uint16)
#: Roundoff of bfloat16.
_BFLOAT16_UNIT = 2.0**-8


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = any(getattr(torch.cpu, name, bool)() for name in instructions)
    return found and fused_convolutions(torch.bfloat16)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Multiply in the thread that asks for it; torch counts threads for each thread apart."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Products:
    """A bank's vectors, prepared for products with many queries.

    Parameters
    ----------
    vectors : array of shape (m, w), float32
        Overwritten.
    norms, drifts : arrays of shape (m,), float64
        As of `Filter.vectors`; brought up to date if the vectors are rounded.
    part : int
        Rows that are multiplied at a time.
    bfloat16 : bool

    Attributes
    ----------
    error : float
        As `Tolerance.product`.
    cost : float
        Of one product, relative to float32.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        norms: NDArray[np.float64],
        drifts: NDArray[np.float64],
        part: int,
        bfloat16: bool,
    ) -> None:
        self.bfloat16 = bfloat16
        self.error = Tolerance.of(vectors.shape[1]).product
        self.cost = 1.0
        if bfloat16:
            # At most 2^-8 |p|, and |p| <= 2 |a| |b| (1 + gamma) <= (|a| + |b|)^2 (1 + gamma) / 2.
            self.error += _BFLOAT16_UNIT / 2 * 1.01
            self.cost = 0.5
        tensor = self.prepare(vectors, norms, drifts)
        tensor *= -2  # exact
        parts = tensor.split(part)
        self._packed = fused_convolutions(tensor.dtype)
        if self._packed:
            # Brought into the order that the products need once, not with every block of queries.
            reorder = torch.ops.mkldnn._reorder_linear_weight
            self._parts = [reorder(rows, 512) for rows in parts]
        else:
            self._parts = list(parts)

    def prepare(
        self,
        vectors: NDArray[np.float32],
        norms: NDArray[np.float64],
        drifts: NDArray[np.float64],
    ) -> torch.Tensor:
        """Bring vectors into the number format of the products, with their norms and drifts."""
        if not self.bfloat16:
            return torch.from_numpy(vectors)
        rounded = np.empty(vectors.shape, dtype=np.uint16)
        to_bfloat16(vectors, rounded, norms, drifts)
        return torch.from_numpy(rounded.view(np.int16)).view(torch.bfloat16)

    def __call__(
        self, queries: torch.Tensor, part: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        """Multiply -2 times a part of the bank: as float32, or as the upper halves of float32."""
        rows = self._parts[part]
        products: Any
        if self._packed:
            products = torch.ops.mkldnn._linear_pointwise(queries, rows, None, "none", [], "")
        else:
            products = queries @ rows.T
        if self.bfloat16:
            return _NO_FLOATS, products.view(torch.int16).numpy().view(np.uint16)
        return products.numpy(), _NO_HALVES
