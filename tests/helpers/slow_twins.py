"""Search and selection as one would write them on a blackboard: what every fast path must equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Found = tuple[NDArray[np.float64], NDArray[np.int64]]


def slow_search(rows: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Found:
    """Measure every pair, sort, take the first k."""
    exact = rows.astype(np.float64)
    squared = np.array([((exact - query) ** 2).sum(axis=1) for query in queries.astype(float)])
    squared = squared.reshape(len(queries), len(rows))
    indices = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squared, indices, axis=1), indices


def slow_selection(
    rows: NDArray[np.float32],
    size: int,
    first: int | None = 0,
    centers: NDArray[np.float32] | None = None,
    stop_radius: float = -1.0,
) -> tuple[list[int], list[float]]:
    """Farthest first as one would write it on a blackboard."""
    squared = np.full(len(rows), np.inf)
    exact = rows.astype(np.float64)
    for center in [] if centers is None else centers.astype(np.float64):
        squared = np.minimum(squared, ((exact - center) ** 2).sum(axis=1))
    indices: list[int] = []
    radii: list[float] = []
    while len(indices) < min(size, len(rows)) and np.sqrt(squared.max()) > stop_radius:
        if first is not None and not indices:
            row = first
        else:
            left = squared.copy()
            left[indices] = -1
            row = int(np.argmax(left))
        indices.append(row)
        squared = np.minimum(squared, ((exact - exact[row]) ** 2).sum(axis=1))
        radii.append(float(np.sqrt(squared.max())))
    return indices, radii
