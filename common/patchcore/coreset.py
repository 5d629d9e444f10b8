"""Coreset selection: the few rows that cover all the others, farthest first.

This is the greedy k-center of PatchCore (Roth et al., "Towards total recall in industrial
anomaly detection", 2022, section 3.2, algorithm 1), exact: the rows chosen are those of the plain
float64 loop, whatever the number of threads, the BLAS library or the block size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from common.patchcore.exact.device import DeviceUnfit, accelerator, by_cpu
from common.patchcore.exact.plain import plainly
from common.patchcore.exact.projection import project

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Coreset:
    """Rows in farthest-first order, so that every prefix is itself a coreset.

    Attributes
    ----------
    indices : array of shape (k,), int64
        The rows chosen, in order of choice.
    radii : array of shape (k,), float64
        `radii[i]` is the Euclidean distance from the worst-covered row to its nearest
        center after `i + 1` choices; in the projected space if one was given.

    Examples
    --------
    The first two of three choices are the coreset of two, and `radii[1]` says what they cover.

    >>> import numpy as np
    >>> from common.patchcore import select_coreset
    >>> line = np.array([[0], [1], [4], [10]], dtype=np.float32)
    >>> three, two = select_coreset(line, 3), select_coreset(line, 2)
    >>> three.indices.tolist(), three.radii.tolist()
    ([0, 3, 2], [10.0, 4.0, 1.0])
    >>> two.indices.tolist(), two.radii.tolist()
    ([0, 3], [10.0, 4.0])
    """

    indices: NDArray[np.int64]
    radii: NDArray[np.float64]


def select_coreset(
    patch_features: NDArray[np.float32],
    size: int,
    *,
    first: int | None = None,
    centers: NDArray[np.float32] | None = None,
    rng: np.random.Generator | None = None,
    projection: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
    stop_radius: float | None = None,
    threads: int | None = None,
    device: torch.device | str | None = None,
) -> Coreset:
    """Choose `size` rows that cover the others, farthest first.

    Parameters
    ----------
    patch_features : array of shape (n, d), float32
        One row per image patch, in the network's own scale; finite. Not modified.
    size : int
        Rows to choose, at least 1. If `size >= n`, every row is chosen once.
    first : int, optional
        Index of the row to begin with, from 0 to n - 1.
    centers : array of shape (m, d), float32, optional
        Rows chosen elsewhere (a global bank), counted as chosen already; in the scale of
        `patch_features`. Without `first` and `rng`, the first choice is then the row farthest
        from them.
    rng : numpy Generator, optional
        Draws the row to begin with. Without `first`, `rng` and `centers` it is row 0.
    projection : array of shape (d, p), float32, optional
        Fixed random projection (`random_projection`), which keeps squared distances on average.
        All distances, `radii` and `stop_radius` included, are then those of the projected float32
        rows (`project`).
    progress : callable (rows chosen, rows wanted), optional
        Called now and then on long runs, and at the end.
    stop_radius : float, optional
        Euclidean distance, not squared. Stop as soon as the worst-covered row lies at most this
        far from a center: fewer rows may come back, none at all if `centers` already cover so
        well.
    threads : int, optional
        How many threads work; by default the CPUs that this process may use. Changes nothing
        but the time.
    device : torch.device or str, optional
        A GPU that multiplies instead of the CPU; the CPU does it all, and logs it, if the GPU's
        memory does not suffice or it fails (see `trusted`). Changes nothing but the time.

    Returns
    -------
    Coreset
        `indices` (k,) int64, in order of choice; `radii` (k,) float64, Euclidean distances.

    Raises
    ------
    ValueError
        If `patch_features` is empty, not two-dimensional or holds a non-finite value, or if
        another argument does not fit it.
    RuntimeError
        By torch, if it knows no such kind of device.

    Notes
    -----
    At most twice the optimal radius (Gonzalez, 1985). Distances are direct differences in
    float64; ties go to the lowest index. Once the radius is 0 (no distinct row is left), the
    lowest rows not yet chosen follow: no row is ever chosen twice.

    Peak memory beside `patch_features` (and their projection): about 20 bytes a row, two float32
    copies of the rows chosen and of `centers`, and 20 MB. Time grows like n k d at worst, at the
    speed of matrix products; the first large call on a machine compiles for some seconds.

    On a GPU: 4 d bytes a row (1.8 GB for 3.5 million of 128 numbers) and a center, and up to about
    0.7 GB; 8 more bytes a row on the host.

    Examples
    --------
    Row 1 lies farthest from row 0, at a distance of 5; then row 2 is left, at a distance of 1.

    >>> import numpy as np
    >>> from common.patchcore.coreset import select_coreset
    >>> rows = np.array([[0, 0], [3, 4], [0, 1]], dtype=np.float32)
    >>> chosen = select_coreset(rows, 2)
    >>> chosen.indices.tolist(), chosen.radii.tolist()
    ([0, 1], [5.0, 1.0])
    >>> select_coreset(rows, 1, centers=rows[:1]).indices.tolist()
    [1]
    """
    rows = _checked(patch_features, "patch_features")
    n, d = rows.shape
    if n == 0 or d == 0:
        raise ValueError(f"patch_features is empty: its shape is {rows.shape}")
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    known = np.empty((0, d), dtype=np.float32) if centers is None else _checked(centers, "centers")
    if known.shape[1] != d:
        raise ValueError(f"centers have {known.shape[1]} columns, patch_features have {d}")
    if projection is not None:
        rows, known = project(rows, projection), project(known, projection)
    start = _first_row(n, first, rng, len(known))
    limit = -1.0 if stop_radius is None else float(stop_radius)
    size = min(size, n)
    target = accelerator(device)
    work = rows.size * (size + len(known))
    if plainly(work, work):
        return _plain_loop(rows, size, start, known, limit, progress)
    # Imported here: compiling takes seconds (once per machine), which small work must not pay for.
    from common.patchcore.exact.device_proof import trusted
    from common.patchcore.exact.kcenter import Selection

    def select(on: torch.device | None) -> Coreset:
        selection = Selection(rows, size, known, limit, threads, device=on)
        selection.run(start, progress)
        count = selection.count
        return Coreset(selection.chosen[:count].copy(), selection.radii[:count].copy())

    target = trusted(target)
    if target is not None:
        try:
            return select(target)
        except DeviceUnfit as error:
            by_cpu("coreset selection", target, error)
    return select(None)


def _checked(rows: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the rows as a C-contiguous float32 array, or say what is wrong with them."""
    if np.ndim(rows) != 2:
        raise ValueError(f"{name} must be two-dimensional, its shape is {np.shape(rows)}")
    array = np.require(rows, dtype=np.float32, requirements=["C", "A"])
    for begin in range(0, len(array), 4096):
        if not np.isfinite(array[begin : begin + 4096]).all():
            raise ValueError(f"{name} holds a non-finite value")
    return array


def _first_row(
    n: int, first: int | None, rng: np.random.Generator | None, n_centers: int
) -> int | None:
    """Return the row to begin with; None means the one farthest from the given centers."""
    if first is not None:
        if not 0 <= first < n:
            raise ValueError(f"first is {first}, but there are {n} rows")
        return int(first)
    if rng is not None:
        return int(rng.integers(n))
    return None if n_centers else 0


def _plain_loop(
    rows: NDArray[np.float32],
    size: int,
    start: int | None,
    known: NDArray[np.float32],
    stop_radius: float,
    progress: Progress | None,
) -> Coreset:
    """Farthest first, one pass over all rows a choice: what every faster path must equal."""
    n, d = rows.shape
    squared = np.full(n, np.inf)
    step = max(1, (1 << 17) // d)
    buffer = np.empty((step, d))

    def cover(center: NDArray[np.float32]) -> None:
        target = center.astype(np.float64)
        for begin in range(0, n, step):
            block = rows[begin : begin + step]
            difference = buffer[: len(block)]
            np.subtract(block, target, out=difference)
            np.multiply(difference, difference, out=difference)
            part = squared[begin : begin + step]
            np.minimum(part, difference.sum(axis=1), out=part)

    for center in known:
        cover(center)
    indices: list[int] = []
    radii: list[float] = []
    chosen = np.zeros(n, dtype=bool)
    worst = float(np.sqrt(squared.max()))
    while len(indices) < size and worst > stop_radius:
        if not indices and start is not None:
            index = start
        else:
            # A row already chosen lies at distance 0: below 0 it is never chosen again.
            index = int(np.argmax(np.where(chosen, -1.0, squared)))
        cover(rows[index])
        chosen[index] = True
        worst = float(np.sqrt(squared.max()))
        indices.append(index)
        radii.append(worst)
        if progress is not None and len(indices) % 256 == 0:
            progress(len(indices), size)
    if progress is not None:
        progress(len(indices), size)
    return Coreset(np.array(indices, dtype=np.int64), np.array(radii, dtype=np.float64))
