"""Random projection of patch features: shorter rows whose distances are nearly the same.

A station projects its rows block by block and selects on the short rows. The result must not depend
on how the rows came in blocks, on the BLAS library or on the machine, or two stations with the same
images would choose different rows. So the projection matrix is made from random bits alone, and the
product is *correctly rounded*: every element is the float32 of the exact sum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_UNIT = 2.0**-53  # unit roundoff of float64
_BLOCK_ELEMENTS = 1 << 20  # float64 values of one working block: 8 MB


def random_projection(n_features: int, n_components: int, seed: int) -> NDArray[np.float32]:
    """Draw a fixed random projection matrix of random signs.

    Every entry is `+1/sqrt(n_components)` or `-1/sqrt(n_components)`, so that
    squared distances are preserved in expectation. The signs are the raw bits of
    NumPy's PCG64 generator, whose stream is fixed: one seed gives the same matrix
    on every machine and with every version.

    Parameters
    ----------
    n_features : int
        Columns of the rows to be projected.
    n_components : int
        Columns after the projection.
    seed : int
        Not negative.

    Returns
    -------
    array of shape (n_features, n_components), float32

    Raises
    ------
    ValueError
        If a size is not positive.

    References
    ----------
    Achlioptas, "Database-friendly random projections", 2003, section 1.
    """
    if n_features < 1 or n_components < 1:
        raise ValueError(f"a projection needs positive sizes, got {n_features} x {n_components}")
    count = n_features * n_components
    words = np.random.PCG64(seed).random_raw(-(-count // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), count=count, bitorder="little")
    signs = bits.astype(np.float32) * 2 - 1
    entry = np.float32(1.0 / math.sqrt(n_components))
    return (signs * entry).reshape(n_features, n_components)


def project(
    rows: NDArray[np.floating],
    projection: NDArray[np.float32],
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Project rows, each element correctly rounded.

    Rows projected one by one, in blocks or all at once give the same bits.

    Parameters
    ----------
    rows : array of shape (n, d), float32 or float16
    projection : array of shape (d, p), float32
    out : array of shape (n, p), float32, optional
        Where to write.

    Returns
    -------
    array of shape (n, p), float32

    Raises
    ------
    ValueError
        If the shapes do not fit together or a value is not finite.

    Notes
    -----
    About 16 MB of working memory beside the result. The product is taken in float64, where its
    worst-case error is known; the few elements (about one in 100,000) that this error could
    push to another float32 are summed again exactly.
    """
    rows = np.asarray(rows)
    if rows.dtype != np.float16:  # of which every number is a float32, too: blocks are converted
        rows = np.asarray(rows, dtype=np.float32)
    projection = np.asarray(projection, dtype=np.float32)
    if rows.ndim != 2 or projection.ndim != 2 or rows.shape[1] != projection.shape[0]:
        raise ValueError(f"cannot project rows of shape {rows.shape} by {projection.shape}")
    if not np.isfinite(projection).all():
        raise ValueError("the projection holds a non-finite value")
    n, d = rows.shape
    if out is None:
        out = np.empty((n, projection.shape[1]), dtype=np.float32)
    matrix = projection.astype(np.float64)
    column_norms = np.sqrt((matrix**2).sum(axis=0))
    step = max(1, _BLOCK_ELEMENTS // max(d, matrix.shape[1], 1))
    for start in range(0, n, step):
        block = rows[start : start + step].astype(np.float64)
        row_norms = np.sqrt((block**2).sum(axis=1))
        if not np.isfinite(row_norms).all():
            raise ValueError("the rows to project hold a non-finite value")
        out[start : start + step] = _rounded_product(block, matrix, row_norms, column_norms)
    return out


def _rounded_product(
    block: NDArray[np.float64],
    matrix: NDArray[np.float64],
    row_norms: NDArray[np.float64],
    column_norms: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Multiply, and settle by exact summation what float64 leaves open."""
    product = block @ matrix
    # A sum of d products errs by at most d u sum|x p| <= d u |x| |p|, in any order (the
    # products of two float32 are exact in float64); the 8 covers the norms' own rounding.
    error = (block.shape[1] + 8) * _UNIT * np.outer(row_norms, column_norms)
    with np.errstate(over="ignore"):
        low = (product - error).astype(np.float32)
        high = (product + error).astype(np.float32)
    for row, column in np.argwhere(low != high):
        exact = np.float64(math.fsum(block[row] * matrix[:, column]))
        low[row, column] = exact.astype(np.float32)
    return low
