"""A device is proved before it is trusted: once a process, on a trial with ties and duplicates."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore.exact.device import DeviceFailed, by_cpu, failure, guarded

_SIZE, _KNOWN, _NEAREST, _QUERIES = 150, 10, 3, 300
#: Several blocks each way, none of them full.
_SELECTION_BLOCKS, _SEARCH_BLOCKS = (500, 70), (128, 700)

_lock = threading.Lock()
_proved: set[str] = set()


def trusted(device: torch.device | None) -> torch.device | None:
    """Return a device that may be used, None for the CPU.

    The first time in a process that a device is asked for, it must choose and find the same rows as
    the CPU; one that does not, or cannot, is named in the log and never used.

    Notes
    -----
    Some tenths of a second, most of it for the compiled loops that real work needs as well.
    """
    if device is None:
        return None
    with _lock:
        if str(device) not in _proved and failure(device) is None:
            try:
                _prove(device)
            except Exception as error:  # whatever it is: what cannot be tried is not used
                reason = error if isinstance(error, DeviceFailed) else _broken_off(device, error)
                by_cpu("everything", device, reason)
            else:
                _proved.add(str(device))
    return device if failure(device) is None else None


def _broken_off(device: torch.device, error: Exception) -> DeviceFailed:
    what = str(error).partition("\n")[0]
    return DeviceFailed(f"{device} could not do its trial ({type(error).__name__}: {what})")


def _prove(device: torch.device) -> None:
    """Raise `DeviceFailed` unless the device's picks and neighbours are the CPU's, bit for bit."""
    # Imported here: they load the compiled loops, which a run on the CPU may never need.
    from common.patchcore.exact.bound_search import BoundSearch
    from common.patchcore.exact.device_search import DeviceSearch

    rows, queries = _trial()
    with guarded(device):
        if not _same(_picks(rows, device), _picks(rows, None)):
            raise DeviceFailed(f"{device} chose other rows than the CPU in its trial")
        found = DeviceSearch(rows, device, None, *_SEARCH_BLOCKS).nearest(queries, _NEAREST)
        if not _same(found, BoundSearch(rows).nearest(queries, _NEAREST)):
            raise DeviceFailed(f"{device} found other nearest rows than the CPU in its trial")


def _trial() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows and queries: some closer than float32 products can tell, ties, and duplicates."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((40, 96))

    def close(count: int) -> NDArray[np.float64]:
        spread: NDArray[np.float64] = 1e-5 * rng.standard_normal((count, 96))
        return centers[rng.integers(0, len(centers), count)] + spread

    lattice = rng.integers(-1, 2, (300, 96))
    several = np.concatenate([close(1500), lattice])
    rows = np.concatenate([several, several[::9]])
    queries = np.concatenate([close(_QUERIES - 50), lattice[:50]])
    return rng.permutation(rows).astype(np.float32), queries.astype(np.float32)


def _picks(
    rows: NDArray[np.float32], device: torch.device | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from common.patchcore.exact.kcenter import Selection

    known = rows[:_KNOWN] + np.float32(0.1)
    blocks = None if device is None else _SELECTION_BLOCKS
    selection = Selection(rows, _SIZE, known, -1.0, device=device, device_blocks=blocks)
    selection.run(None, None)
    return selection.radii, selection.chosen


def _same(
    one: tuple[NDArray[np.float64], NDArray[np.int64]],
    other: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
