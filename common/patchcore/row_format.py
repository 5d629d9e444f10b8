"""The number formats of bank rows: as they are, or one byte a number with a scale per channel.

The scales are powers of two. Three things follow, and the protocol rests on them: what was sent is
decoded exactly, on any machine and even in float16; a part of a bank is decoded to the very rows
that the whole would give; and rows that were settled once stay as they are when they are sent on.
So a station, the server and a saved model all mean the same numbers by the same row.

A number errs by at most half its channel's scale, which is less than its channel's largest
magnitude / 255 (/ 127 if any number is negative; patch features after a ReLU never are).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]

SCALE_ROWS: Final = 2
"""Rows of an encoded array that come before the bank's: exponents of the scales, zero points."""
_LOWEST, _HIGHEST = -24, 9  # exponents between which float16 holds every multiple
_LARGEST = 65504.0  # of float16


def row_dtype(wire_dtype: str) -> np.dtype[Any]:
    """Number format in which rows are kept on both sides of the wire."""
    return np.dtype("float16" if wire_dtype == "int8" else wire_dtype)


def settle(rows: Rows, wire_dtype: str) -> Rows:
    """Round rows to what the wire can carry, once, where they are chosen or merged.

    Parameters
    ----------
    rows : array of shape (n, d)
    wire_dtype : str

    Returns
    -------
    array of shape (n, d), `row_dtype(wire_dtype)`
    """
    if wire_dtype != "int8" or len(rows) == 0:
        return np.asarray(rows, dtype=row_dtype(wire_dtype))
    return decode(encode(rows))


def encode(rows: Rows) -> Rows:
    """Write rows as one byte a number.

    Parameters
    ----------
    rows : array of shape (n, d)

    Returns
    -------
    array of shape (`SCALE_ROWS` + n, d), int8
        Exponents, zero points, then the bytes: value = (byte - zero point) 2^exponent.
    """
    numbers = np.asarray(rows, dtype=np.float32)
    out = np.zeros((SCALE_ROWS + len(numbers), numbers.shape[1]), dtype=np.int8)
    if len(numbers) == 0:
        return out
    negative = bool((numbers < 0).any())
    levels, zero = (127, 0) if negative else (255, -128)
    peak = np.abs(numbers).max(axis=0).astype(np.float64)
    fraction, exponent = np.frexp(peak / levels)
    # The smallest power of two not below peak / levels: exact where peak is a multiple of it.
    exponent = np.clip(exponent - (fraction == 0.5), _LOWEST, _HIGHEST)
    most = np.minimum(levels, np.floor(np.ldexp(_LARGEST, -exponent)))
    out[0], out[1] = exponent, zero
    for begin in range(0, len(numbers), 4096):
        codes = np.rint(np.ldexp(numbers[begin : begin + 4096], -exponent))
        codes = np.clip(codes, -most, most) + zero
        out[SCALE_ROWS + begin : SCALE_ROWS + begin + len(codes)] = codes
    return out


def decode(sent: Rows) -> Rows:
    """Read what `encode` wrote, as float16."""
    exponent, zero = sent[0].astype(np.int32), sent[1].astype(np.float32)
    out = np.empty((len(sent) - SCALE_ROWS, sent.shape[1]), dtype=np.float16)
    with np.errstate(over="ignore"):  # a hostile exponent: the rows are checked after decoding
        for begin in range(0, len(out), 4096):
            codes = sent[SCALE_ROWS + begin : SCALE_ROWS + begin + 4096].astype(np.float32) - zero
            out[begin : begin + len(codes)] = np.ldexp(codes, exponent)
    return out
