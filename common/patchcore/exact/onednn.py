"""oneDNN's operators as torch has them, where it does: looked up and tried before they are used.

What oneDNN can do in one pass (convolution, bias, residual, ReLU; weights reordered once) torch
offers without a compiler, under `torch.ops.mkldnn`: what `torch.compile` calls, too. Nobody has
promised to keep these operators, so what they compute is looked at, on whole numbers that every
format holds exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from common.hooks import table
from common.hooks.lookup import find

_ONE, _NONE = [1, 1], [0, 0]
#: Channels of a trial.
_FEW = 16


@dataclass(frozen=True)
class Convolutions:
    """Fused convolutions of one number format.

    Attributes
    ----------
    convolve : operator
    order : operator
        Brings weights into the order that suits a size of image.
    layout : operator or None
        Names that order.
    """

    convolve: Any
    order: Any
    layout: Any | None


@dataclass(frozen=True)
class Linear:
    """Products of many vectors with many.

    Attributes
    ----------
    multiply : operator
    order : operator
        Brings vectors that are multiplied again and again into a better order.
    """

    multiply: Any
    order: Any


def convolutions(dtype: torch.dtype) -> Convolutions | None:
    """Fused convolutions of this number format, if torch on this machine has them."""
    if not _computes(dtype):
        return None
    convolve = find(table.CONVOLUTION, lambda operator: _convolves(operator, dtype))
    order = find(table.CONVOLUTION_ORDER, lambda operator: _orders_weights(operator, dtype))
    if convolve is None or order is None:
        return None
    return Convolutions(convolve, order, find(table.WEIGHT_LAYOUT))


def linear(dtype: torch.dtype) -> Linear | None:
    """Products of this number format, if torch on this machine has them."""
    if not _computes(dtype):
        return None
    multiply = find(table.PRODUCT, lambda operator: _multiplies(operator, dtype))
    order = find(table.PRODUCT_ORDER, lambda operator: _orders_vectors(operator, dtype))
    return None if multiply is None or order is None else Linear(multiply, order)


def _computes(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.float32:
        return True
    supported = find(table.BFLOAT16)
    return supported is not None and bool(supported())


@cache
def _convolves(convolve: Any, dtype: torch.dtype) -> bool:
    """16 ones, times 1, minus 20: -4, and by ReLU 0; with a residual of 8 it is 4."""
    image, weight = _image(1, dtype), torch.ones((_FEW, _FEW, 1, 1), dtype=dtype)
    bias = torch.full((_FEW,), -20, dtype=dtype)
    shape = (_NONE, _ONE, _ONE, 1)
    plain = convolve(image, weight, bias, *shape, "relu", [], "")
    added = convolve(image, _image(8, dtype), weight, bias, *shape, "add", 1.0, "relu", [], "")
    return torch.equal(plain, _image(0, dtype)) and torch.equal(added, _image(4, dtype))


@cache
def _orders_weights(order: Any, dtype: torch.dtype) -> bool:
    weight = torch.arange(_FEW * _FEW, dtype=dtype).view(_FEW, _FEW, 1, 1)
    ordered = order(weight, _NONE, _ONE, _ONE, 1, list(_image(0, dtype).shape))
    return torch.equal(_plain(ordered), weight)


@cache
def _multiplies(multiply: Any, dtype: torch.dtype) -> bool:
    """Vectors of 16 ones and threes: their products are 48."""
    few, many = torch.ones((2, _FEW), dtype=dtype), torch.full((3, _FEW), 3, dtype=dtype)
    return torch.equal(multiply(few, many, None, "none", [], ""), few @ many.T)


@cache
def _orders_vectors(order: Any, dtype: torch.dtype) -> bool:
    vectors = torch.arange(3 * _FEW, dtype=dtype).view(3, _FEW)
    return torch.equal(_plain(order(vectors, 512)), vectors)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_dense() if tensor.layout != torch.strided else tensor


def _image(value: float, dtype: torch.dtype) -> torch.Tensor:
    image = torch.full((1, _FEW, 4, 4), value, dtype=dtype)
    return image.contiguous(memory_format=torch.channels_last)
