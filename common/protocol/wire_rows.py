"""Bank rows in messages, in the number formats of `common.patchcore.row_format`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.patchcore.row_format import SCALE_ROWS, Rows, decode, encode


def to_wire(banks: Mapping[str, Rows], wire_dtype: str) -> dict[str, Rows]:
    """Encode settled rows for a message.

    Returns
    -------
    dict of name to array
        With `int8`: shape (`SCALE_ROWS` + n, d), int8. Otherwise the rows themselves.
    """
    if wire_dtype != "int8":
        return dict(banks)
    return {name: encode(rows) for name, rows in banks.items()}


def from_wire(banks: Mapping[str, Rows], wire_dtype: str) -> dict[str, Rows]:
    """Decode what `to_wire` made.

    Raises
    ------
    ValueError
        If an array is not of that form; what it says was sent by somebody else.
    """
    if wire_dtype != "int8":
        return dict(banks)
    for name, sent in banks.items():
        if sent.dtype != np.int8 or sent.ndim != 2 or len(sent) < SCALE_ROWS:
            raise ValueError(
                f"bank {name[:120]!r}: {sent.dtype} of shape {sent.shape}, expected int8 of "
                f"(rows + {SCALE_ROWS}, numbers)"
            )
    return {name: decode(sent) for name, sent in banks.items()}
