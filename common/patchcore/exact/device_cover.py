"""Bounds of the farthest-first selection, lowered with a GPU's filter (see `_device_filter`)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from threading import Semaphore

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore.exact.device_filter import MOST_THREADS, DeviceTable, device_products, upload
from common.patchcore.exact.frame import Frame

_BLOCKS = (16384, 4096)


class DeviceCover:
    """Rows and centers of one selection, on a device.

    Parameters
    ----------
    rows : array of shape (n, d), float32, C-contiguous, finite
    centers : array of shape (m, d), float32
        With room for all that will be chosen; filled as the selection goes on.
    frame : Frame
    device : torch.device
    blocks : (int, int), optional
        Rows and centers multiplied at a time. They change nothing but the time.

    Raises
    ------
    DeviceUnfit
        If the device's memory does not suffice, it fails, or it multiplies in a shorter format.

    Notes
    -----
    Memory on the device: 4 d bytes a row (1.8 GB for 3.5 million of 128 numbers), 4 (d + 1) a
    center, and about 50 MB and cuBLAS's workspace for each of at most 8 threads. On the host 8
    bytes a row.
    """

    def __init__(
        self,
        rows: NDArray[np.float32],
        centers: NDArray[np.float32],
        frame: Frame,
        device: torch.device,
        blocks: tuple[int, int] | None = None,
    ) -> None:
        self.rows = rows
        self.block_rows, self.block_centers = blocks or _BLOCKS
        self._room = Semaphore(MOST_THREADS)
        with device_products(device):
            self.table = DeviceTable(centers, frame, device)
            self.near = torch.empty(rows.shape, dtype=torch.float32, device=device)
            self.norms = upload(rows, frame, self.near)

    def refresh(
        self,
        stale: NDArray[np.int64],
        squared: NDArray[np.float64],
        seen: NDArray[np.int32],
        n_centers: int,
        workers: ThreadPoolExecutor | None,
    ) -> None:
        """Lower the bounds of rows by every center that they have not seen.

        Parameters
        ----------
        stale : array of int64
            Rows, those that have seen the fewest centers first.
        squared, seen : arrays of shape (n,)
            Bounds, and how many centers they hold for. Updated.
        n_centers : int
            Centers there are.
        workers : ThreadPoolExecutor, optional

        Raises
        ------
        DeviceUnfit
            If the device's memory does not suffice, or it fails.
        """

        def work(members: NDArray[np.int64]) -> None:
            with self._room:
                squared[members] = self._lower(members, squared[members], seen[members[0]])
                seen[members] = n_centers

        step = self.block_rows
        blocks = [stale[i : i + step] for i in range(0, len(stale), step)]
        with device_products(self.table.device):
            self.table.append(n_centers)
            if workers is None or len(blocks) <= 1:
                for block in blocks:
                    work(block)
            else:
                # While one thread measures, the device multiplies for another. If one fails, the
                # others end first: nobody may write when the rows are somebody else's.
                tasks = [workers.submit(work, block) for block in blocks]
                wait(tasks)
                for task in tasks:
                    task.result()

    def _lower(
        self, members: NDArray[np.int64], bounds: NDArray[np.float64], begin: int
    ) -> NDArray[np.float64]:
        """Return the bounds of a block of rows, lowered by the centers from `begin` on."""
        table = self.table
        near = self.near[torch.from_numpy(members).to(table.device)]
        rows, norms = self.rows[members], self.norms[members]
        values = bounds[:, None]
        nearest = np.full(values.shape, -1, dtype=np.int64)
        for start in range(int(begin), table.count, self.block_centers):
            end = min(start + self.block_centers, table.count)
            table.merge(near, rows, norms, start, end, values, nearest)
        return values[:, 0]
