"""The memory bank: the rows kept, and the exact search of the nearest of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class MemoryBank:
    """Rows of normal patch features, searched for nearest neighbours.

    Parameters
    ----------
    rows : array of shape (m, d), float32

    Raises
    ------
    ValueError
        If `rows` is empty, not two-dimensional or holds a non-finite value.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = _checked(rows, "rows")
        if self.rows.size == 0:
            raise ValueError(f"a memory bank needs rows, got shape {self.rows.shape}")

    def nearest(
        self, queries: NDArray[np.float32], k: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Find the `k` nearest rows of each query, nearest first.

        Parameters
        ----------
        queries : array of shape (q, d), float32
        k : int
            At least 1, at most the number of rows.

        Returns
        -------
        distances : array of shape (q,) if `k` is 1, else (q, k), float64
            Euclidean, from direct differences in float64.
        indices : array of the same shape, int64
            Ties go to the lowest index.

        Raises
        ------
        ValueError
            If the queries do not fit the bank or hold a non-finite value, or `k` is out of range.
        """
        queries = _checked(queries, "queries")
        m, d = self.rows.shape
        if queries.shape[1] != d:
            raise ValueError(f"queries have {queries.shape[1]} columns, the bank has {d}")
        if not 1 <= k <= m:
            raise ValueError(f"k must be from 1 to {m}, got {k}")
        squared = np.empty((len(queries), k))
        indices = np.empty((len(queries), k), dtype=np.int64)
        step = max(1, (1 << 17) // d)
        row_distances = np.empty(m)
        for i, query in enumerate(queries):
            target = query.astype(np.float64)
            for begin in range(0, m, step):
                difference = self.rows[begin : begin + step] - target
                row_distances[begin : begin + step] = (difference**2).sum(axis=1)
            order = np.argsort(row_distances, kind="stable")[:k]
            indices[i], squared[i] = order, row_distances[order]
        distances = np.sqrt(squared)
        return (distances[:, 0], indices[:, 0]) if k == 1 else (distances, indices)


def _checked(rows: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the rows as a C-contiguous float32 array, or say what is wrong with them."""
    if np.ndim(rows) != 2:
        raise ValueError(f"{name} must be two-dimensional, its shape is {np.shape(rows)}")
    array = np.ascontiguousarray(rows, dtype=np.float32)
    for begin in range(0, len(array), 4096):
        if not np.isfinite(array[begin : begin + 4096]).all():
            raise ValueError(f"{name} holds a non-finite value")
    return array
