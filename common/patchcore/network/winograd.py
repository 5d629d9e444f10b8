"""3x3 convolutions of stride 1 with a quarter of the products: Winograd's F(4x4, 3x3).

Every 4x4 tile of the output depends on a 6x6 patch of the input. Patch, filter and result are
brought into a space of 36 numbers in which the convolution is a product number by number:
36 products a tile and channel pair where the plain convolution needs 144. Summed over the
channels these are 36 independent matrix products, which one grouped 1x1 convolution does.

The arithmetic is float32 throughout; results differ from the plain convolution's by some 1e-6
relative. References: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR
2016, section 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from common.patchcore.exact.compiled import compiled
from common.patchcore.exact.kernels import F32, I64, array

#: Side of a tile of the output, and of the patch of the input that it depends on.
TILE, PATCH = 4, 6
#: Channels are handled so many at a time.
LANES = 16

_FILTER = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)


def transform_filter(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring filters (out, in, 3, 3) into Winograd's space: (36, out, in)."""
    double = weight.astype(np.float64)
    moved = np.tensordot(_FILTER, np.tensordot(double, _FILTER.T, axes=1), axes=(1, 2))
    return moved.transpose(0, 3, 1, 2).reshape(PATCH * PATCH, *weight.shape[:2]).astype(np.float32)


def tile_count(height: int, width: int) -> int:
    """Tiles that cover an output of this size."""
    return -(-height // TILE) * -(-width // TILE)


class _Vectors:
    """Sums of vectors of 16 floats, as LLVM instructions; never contracted or reordered."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def times(self, factor: float, x: Any) -> Any:
        return self.builder.fmul(ir.Constant(_FLOATS, [factor] * LANES), x)

    def add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, y)

    def sub(self, x: Any, y: Any) -> Any:
        return self.builder.fsub(x, y)

    def load(self, data: Any, index: Any) -> Any:
        place = self.builder.bitcast(self.builder.gep(data, [index]), _FLOATS.as_pointer())
        return self.builder.load(place, align=4)

    def store(self, value: Any, data: Any, index: Any) -> None:
        place = self.builder.bitcast(self.builder.gep(data, [index]), _FLOATS.as_pointer())
        self.builder.store(value, place, align=4)

    def at(self, base: Any, *steps: tuple[int, Any]) -> Any:
        """Index `base + sum(count * step)`."""
        for count, step in steps:
            if count:
                offset = self.builder.mul(ir.Constant(base.type, count), step)
                base = self.builder.add(base, offset)
        return base

    def patch(self, d: list[Any]) -> list[Any]:
        """Transform six numbers of the input."""
        even, odd = self.sub(d[4], self.times(4, d[2])), self.sub(d[3], self.times(4, d[1]))
        near, far = self.sub(d[4], d[2]), self.times(2, self.sub(d[3], d[1]))
        return [
            self.add(self.sub(self.times(4, d[0]), self.times(5, d[2])), d[4]),
            self.add(even, odd),
            self.sub(even, odd),
            self.add(near, far),
            self.sub(near, far),
            self.add(self.sub(self.times(4, d[1]), self.times(5, d[3])), d[5]),
        ]

    def tile(self, m: list[Any]) -> list[Any]:
        """Transform six numbers of the result back into four of the output."""
        plus, minus = self.add(m[1], m[2]), self.sub(m[1], m[2])
        wide, skew = self.add(m[3], m[4]), self.sub(m[3], m[4])
        return [
            self.add(self.add(m[0], plus), wide),
            self.add(minus, self.times(2, skew)),
            self.add(plus, self.times(4, wide)),
            self.add(self.add(minus, self.times(8, skew)), m[5]),
        ]


def _two_ways(one_way: Any, grid: list[list[Any]]) -> list[list[Any]]:
    """Transform the columns of a square, then the rows of what they give."""
    columns = [one_way(list(column)) for column in zip(*grid, strict=True)]
    return [one_way(list(row)) for row in zip(*columns, strict=True)]


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _input_tile(
    typing_context: Any, source: Any, base: Any, down: Any, right: Any, target: Any, place: Any,
    step: Any,
) -> Any:  # fmt: skip
    """Transform 16 channels of one patch.

    The patch begins at `source[base]`, its rows lie `down` apart and its columns `right`; its 36
    numbers go to `target[place]`, `step` apart.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = _Vectors(builder)
        data = _data(context, builder, signature.args[0], arguments[0])
        out = _data(context, builder, signature.args[4], arguments[4])
        begin, below, beside, first, apart = (arguments[i] for i in (1, 2, 3, 5, 6))
        grid = [
            [vectors.load(data, vectors.at(begin, (i, below), (j, beside))) for j in range(PATCH)]
            for i in range(PATCH)
        ]
        for i, row in enumerate(_two_ways(vectors.patch, grid)):
            for j, value in enumerate(row):
                vectors.store(value, out, vectors.at(first, (PATCH * i + j, apart)))
        return context.get_dummy_value()

    return types.void(source, base, down, right, target, place, step), generate


def _output_tile(
    typing_context: Any, source: Any, base: Any, step: Any, bias: Any, channel: Any, target: Any,
    place: Any, down: Any, right: Any,
) -> Any:  # fmt: skip
    """Transform 16 channels of one tile back, and add the bias: the reverse of `_input_tile`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = _Vectors(builder)
        data = _data(context, builder, signature.args[0], arguments[0])
        offsets = _data(context, builder, signature.args[3], arguments[3])
        out = _data(context, builder, signature.args[5], arguments[5])
        begin, apart, lane, first, below, beside = (arguments[i] for i in (1, 2, 4, 6, 7, 8))
        grid = [
            [vectors.load(data, vectors.at(begin, (PATCH * i + j, apart))) for j in range(PATCH)]
            for i in range(PATCH)
        ]
        added = vectors.load(offsets, lane)
        for i, row in enumerate(_two_ways(vectors.tile, grid)):
            for j, value in enumerate(row):
                index = vectors.at(first, (i, below), (j, beside))
                vectors.store(vectors.add(value, added), out, index)
        return context.get_dummy_value()

    kinds = (source, base, step, bias, channel, target, place, down, right)
    return types.void(*kinds), generate


_transform_patch: Any = intrinsic(_input_tile)
_transform_tile: Any = intrinsic(_output_tile)


@compiled(types.void(array(F32, 3), I64, I64, array(F32, 3, False)))
def transform_input(
    image: NDArray[np.float32], first: int, last: int, out: NDArray[np.float32]
) -> None:
    """Bring tiles of an image (h, w, c), zeros around it, into Winograd's space: (n, 36, c)."""
    height, width, channels = image.shape
    right = -(-width // TILE)
    flat, target = image.reshape(-1), out.reshape(-1)
    edge = np.empty((PATCH, PATCH, channels), dtype=np.float32)
    around = edge.reshape(-1)
    for index in range(first, last):
        top, left = TILE * (index // right) - 1, TILE * (index % right) - 1
        place = (index - first) * PATCH * PATCH * channels
        if top >= 0 and left >= 0 and top + PATCH <= height and left + PATCH <= width:
            base = (top * width + left) * channels
            for c in range(0, channels, LANES):
                _transform_patch(
                    flat, base + c, width * channels, channels, target, place + c, channels
                )
            continue
        for i in range(PATCH):
            for j in range(PATCH):
                y, x = top + i, left + j
                if 0 <= y < height and 0 <= x < width:
                    edge[i, j] = image[y, x]
                else:
                    edge[i, j] = 0
        for c in range(0, channels, LANES):
            _transform_patch(around, c, PATCH * channels, channels, target, place + c, channels)


@compiled(
    types.void(
        array(F32, 3),
        I64,
        I64,
        array(F32, 1),
        array(F32, 3),
        types.boolean,
        array(F32, 3, False),
    )
)
def transform_output(
    products: NDArray[np.float32],
    first: int,
    last: int,
    bias: NDArray[np.float32],
    residual: NDArray[np.float32],
    has_residual: bool,
    out: NDArray[np.float32],
) -> None:
    """Bring products (n, 36, c) back to tiles of an image (h, w, c), add bias, residual and ReLU.

    `residual` is an image like `out`; without one, any array.
    """
    height, width, channels = out.shape
    right = -(-width // TILE)
    flat = products.reshape(-1)
    tile = np.empty((TILE, TILE, channels), dtype=np.float32)
    target = tile.reshape(-1)
    for index in range(first, last):
        top, left = TILE * (index // right), TILE * (index % right)
        base = (index - first) * PATCH * PATCH * channels
        for c in range(0, channels, LANES):
            _transform_tile(flat, base + c, channels, bias, c, target, c, TILE * channels, channels)
        for y in range(top, min(top + TILE, height)):
            for x in range(left, min(left + TILE, width)):
                for c in range(channels):
                    value = tile[y - top, x - left, c]
                    if has_residual:
                        value += residual[y, x, c]
                    out[y, x, c] = np.float32(0) if value < 0 else value
