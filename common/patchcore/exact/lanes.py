"""Eight float64 sums side by side: the inner step of NumPy's summation, as vector instructions.

The order of the additions is fixed by what NumPy does, so a compiler that keeps to the rules of
floating point cannot vectorise a plain loop by itself; here the eight lanes are spelled out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from common.hooks.lookup import find
from common.hooks.table import CODE_CONTEXT, CODE_HELPERS

_cgutils: Any = find(CODE_HELPERS)
_LANES = 8
_DOUBLES = ir.VectorType(ir.DoubleType(), _LANES)
_FLOATS = ir.VectorType(ir.FloatType(), _LANES)


def _eight_lane_sum(typing_context: Any, a: Any, b: Any, begin: Any, end: Any) -> Any:
    """Sum (a - b)^2 over [begin, end), a multiple of eight numbers, in float64.

    Lane l sums the elements `begin + l + 8 i`; the lanes are then added as
    ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a_type, b_type = signature.args[:2]
        sources = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in ((a_type, arguments[0]), (b_type, arguments[1]))
        ]
        sums = _cgutils.alloca_once(builder, _DOUBLES)
        builder.store(ir.Constant(_DOUBLES, [0.0] * _LANES), sums)
        step = ir.Constant(arguments[2].type, _LANES)
        with _cgutils.for_range_slice(
            builder, arguments[2], arguments[3], step, arguments[2].type
        ) as (index, _):
            values = []
            for source in sources:
                place = builder.bitcast(builder.gep(source, [index]), _FLOATS.as_pointer())
                values.append(builder.fpext(builder.load(place, align=4), _DOUBLES))
            difference = builder.fsub(values[0], values[1])
            square = builder.fmul(difference, difference)
            builder.store(builder.fadd(builder.load(sums), square), sums)
        total = builder.load(sums)
        lanes = [builder.extract_element(total, ir.IntType(32)(i)) for i in range(_LANES)]
        while len(lanes) > 1:
            lanes = [builder.fadd(x, y) for x, y in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    return types.float64(a, b, begin, end), generate


def _plain_sum(a: Any, b: Any, begin: int, end: int) -> float:
    """Sum the same in the same order, where numba's helpers are not what they were."""
    lanes = np.zeros(_LANES)
    for i in range(begin, end):
        difference = np.float64(a[i]) - np.float64(b[i])
        lanes[(i - begin) % _LANES] += difference * difference
    low = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
    high = (lanes[4] + lanes[5]) + (lanes[6] + lanes[7])
    return float(low + high)


_have_lanes = _cgutils is not None and find(CODE_CONTEXT) is not None
eight_lane_sum: Any = intrinsic(_eight_lane_sum) if _have_lanes else njit(nogil=True)(_plain_sum)
