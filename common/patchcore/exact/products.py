"""Products of vectors, as fast as the processor can: never exact.

Search and selection ask only that the error has a bound, so the number format may be a short one.
bfloat16 keeps 8 bits: rounding moves a vector by at most 2^-8 of its norm (the true distance it was
moved is known), and another 2^-8 of every product is lost when it is rounded in turn. Both are
small beside the distances that matter, so few pairs more are left to be measured, and processors
with bfloat16 instructions multiply at twice the speed or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore.exact.frame import Tolerance
from common.patchcore.exact.onednn import linear
from common.patchcore.exact.products_kernels import to_bfloat16

_NO_FLOATS = np.empty((0, 0), dtype=np.float32)
_NO_HALVES = np.empty((0, 0), dtype=np.uint16)
#: Roundoff of bfloat16.
_BFLOAT16_UNIT = 2.0**-8


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    processor = torch.cpu.get_capabilities()
    found = any(processor.get(name, False) for name in ("avx512_bf16", "amx_tile"))
    return found and linear(torch.bfloat16) is not None


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Multiply in the thread that asks for it; torch counts threads for each thread apart."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_one_torch_thread() -> None:
    """Begin a thread of our own: torch counts threads for each of them apart."""
    torch.set_num_threads(1)


class NumberFormat:
    """What vectors of the frame are multiplied as: float32, or bfloat16.

    Parameters
    ----------
    width : int
        Numbers of a vector.
    bfloat16 : bool

    Attributes
    ----------
    error : float
        As `Tolerance.product`.
    cost : float
        Of one product, relative to float32.
    """

    def __init__(self, width: int, bfloat16: bool) -> None:
        self.bfloat16 = bfloat16
        self.error = Tolerance.of(width).product
        self.cost = 1.0
        if bfloat16:
            # At most 2^-8 |p|, and |p| <= 2 |a| |b| (1 + gamma) <= (|a| + |b|)^2 (1 + gamma) / 2.
            self.error += _BFLOAT16_UNIT / 2 * 1.01
            self.cost = 0.5
        self.dtype = torch.bfloat16 if bfloat16 else torch.float32
        self._fast = linear(self.dtype)

    def prepare(
        self,
        vectors: NDArray[np.float32],
        norms: NDArray[np.float64],
        drifts: NDArray[np.float64],
    ) -> torch.Tensor:
        """Bring vectors into the format; their norms and drifts follow if they are rounded."""
        if not self.bfloat16:
            return torch.from_numpy(vectors)
        rounded = np.empty(vectors.shape, dtype=np.uint16)
        to_bfloat16(vectors, rounded, norms, drifts)
        return torch.from_numpy(rounded.view(np.int16)).view(torch.bfloat16)

    def pack(self, doubled: torch.Tensor) -> torch.Tensor:
        """Bring vectors into the order that the products need, once."""
        return doubled if self._fast is None else self._fast.order(doubled, 512)

    def multiply(
        self, vectors: torch.Tensor, doubled: torch.Tensor
    ) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        """Multiply with vectors times -2, packed or not: every pair's product.

        oneDNN's products need no package's BLAS: on processors of which NumPy's or torch's own
        library thinks little, they are twice as fast or more.

        Returns
        -------
        products : array of shape (n, m), float32; empty in bfloat16
        halves : array of shape (n, m), uint16; empty in float32
            The upper halves of the products' float32 bits.
        """
        if self._fast is not None:
            products = self._fast.multiply(vectors, doubled, None, "none", [], "")
        else:
            products = vectors @ doubled.T
        if self.bfloat16:
            return _NO_FLOATS, products.view(torch.int16).numpy().view(np.uint16)
        return products.numpy(), _NO_HALVES


class Products:
    """A bank's vectors, prepared for products with many queries.

    Parameters
    ----------
    width : int
        Numbers of a vector.
    bfloat16 : bool
    """

    def __init__(self, width: int, bfloat16: bool) -> None:
        self.format = NumberFormat(width, bfloat16)
        self._parts: list[torch.Tensor] = []

    def append(
        self,
        vectors: NDArray[np.float32],
        norms: NDArray[np.float64],
        drifts: NDArray[np.float64],
    ) -> None:
        """Take in the bank's next part.

        Parameters
        ----------
        vectors : array of shape (m, w), float32
            Overwritten.
        norms, drifts : arrays of shape (m,), float64
            As of `Filter.vectors`; brought up to date if the vectors are rounded.
        """
        tensor = self.format.prepare(vectors, norms, drifts)
        tensor *= -2  # exact
        self._parts.append(self.format.pack(tensor))

    def __call__(
        self, queries: torch.Tensor, part: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        """Multiply prepared queries with a part of the bank, times -2."""
        return self.format.multiply(queries, self._parts[part])
