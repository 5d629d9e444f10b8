"""The filter on a GPU: float32 products there rule rows out, float64 on the host measures the rest.

What comes back from the device decides only what is measured, by a worst-case tolerance
(`Tolerance`) that holds for sums in any order, so cuBLAS may add as it likes. It holds for true
float32 alone: TF32 keeps 10 bits of every factor, and must be off.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from common.patchcore.exact.device import DeviceFailed, guarded
from common.patchcore.exact.device_kernels import measure
from common.patchcore.exact.filters import FrameFilter
from common.patchcore.exact.frame import UNIT, Frame, Tolerance
from common.patchcore.exact.kernels import summation_plan
from common.patchcore.exact.search_kernels import FAR

#: Threads that measure for one device: more would but wait for it, and each holds its memory.
MOST_THREADS = 8
_UPLOAD_ROWS = 1 << 16
#: A query with more than this share of a block left is measured against all of it: a list of
#: what is left takes 16 bytes a row.
_CROWDED = 1 / 16
_CROWDED_ROWS = 64

_lock = threading.Lock()
_inside = 0
_before = ExitStack()


@contextmanager
def device_products(device: torch.device) -> Iterator[None]:
    """Multiply in true float32, and say `DeviceUnfit` where the device cannot (see `guarded`).

    The setting belongs to the process: the first that enters changes it, the last that leaves
    restores it.
    """
    global _inside
    with _lock:
        if _inside == 0:
            _set_full_float32(_before)
        _inside += 1
    try:
        with guarded(device):
            yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _before.close()


def _set_full_float32(before: ExitStack) -> None:
    """Switch short formats off; `before` switches them back.

    torch has an older and a newer way to set the same thing and refuses to multiply while they
    contradict each other. The older setter writes both; the newer values alone can always be read.
    """
    backends: tuple[Any, ...] = (torch.backends.cuda, torch.backends.mkldnn)
    for backend in backends:
        before.callback(setattr, backend.matmul, "fp32_precision", backend.matmul.fp32_precision)
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer way was used
        old = "highest"
    before.callback(torch.set_float32_matmul_precision, old)  # last in, first out
    torch.set_float32_matmul_precision("highest")


def upload(rows: NDArray[np.float32], frame: Frame, to: torch.Tensor) -> NDArray[np.float64]:
    """Bring rows into the frame and onto a device, some at a time; return their norms there."""
    in_frame = FrameFilter(frame)
    norms = np.empty(len(rows))
    for begin in range(0, len(rows), _UPLOAD_ROWS):
        part = slice(begin, begin + _UPLOAD_ROWS)
        vectors, norms[part], _ = in_frame.vectors(rows[part])
        to[part] = torch.from_numpy(vectors)
    return norms


class DeviceTable:
    """Rows on the host and their vectors on a device, to be compared with blocks of queries.

    Parameters
    ----------
    rows : array of shape (m, d), float32, C-contiguous
        Need not be filled yet, see `append`.
    frame : Frame
        Every row has norm at most 1 in it.
    device : torch.device

    Raises
    ------
    DeviceFailed
        If the device multiplies in a shorter format, whatever it is told.

    Notes
    -----
    On the device 4 m (d + 1) bytes, and about 6 bytes for each pair of query and row merged at a
    time.
    """

    def __init__(self, rows: NDArray[np.float32], frame: Frame, device: torch.device) -> None:
        self.rows, self.frame, self.device = rows, frame, device
        self.count = 0
        self.most = 0.0
        self.plan = summation_plan(rows.shape[1])
        self.product = Tolerance.of(rows.shape[1]).product
        self._doubled = torch.empty(rows.shape, dtype=torch.float32, device=device)
        self._offsets = torch.empty(len(rows), dtype=torch.float32, device=device)
        # NVIDIA_TF32_OVERRIDE in the environment, say, is stronger than any setting of torch.
        probe = torch.full((256, 256), 1 + 2.0**-20, dtype=torch.float32, device=device)
        if not torch.equal(probe @ torch.eye(256, dtype=torch.float32, device=device), probe):
            raise DeviceFailed(f"{device} does not multiply in full float32")

    def append(self, end: int) -> None:
        """Take in the rows up to `end`, which have been filled since the last time."""
        part = slice(self.count, end)
        if part.start == part.stop:
            return
        norms = upload(self.rows[part], self.frame, self._doubled[part])
        self._doubled[part].mul_(-2)  # exact
        # This copy ends when all before it has: other threads may have streams of their own.
        self._offsets[part] = torch.from_numpy((norms**2).astype(np.float32))
        self.most = max(self.most, float(norms.max()) * (1 + 1e-6))
        self.count = end

    def merge(
        self,
        near: torch.Tensor,
        queries: NDArray[np.float32],
        norms: NDArray[np.float64],
        begin: int,
        end: int,
        values: NDArray[np.float64],
        indices: NDArray[np.int64],
    ) -> None:
        """Merge the rows [begin, end) into the nearest rows found so far.

        Parameters
        ----------
        near : tensor of shape (q, d), float32
            The queries in the frame, on the device; anything finite where the norm exceeds `FAR`.
        queries : array of shape (q, d), float32
        norms : array of shape (q,), float64
        begin, end : int
        values, indices : arrays of shape (q, k)
            Squared distances, sorted, and rows; infinity and -1 where there is none yet. Updated.
        """
        # Added apart, not by `addmm`: a sum that begins with the offset errs more than one that
        # ends with it, more than `Tolerance` has it.
        sums = near @ self._doubled[begin:end].T
        sums += self._offsets[begin:end]
        # The most promising rows first, so that the limits are tight.
        k = min(values.shape[1], end - begin)
        if k == 1:
            lowest, seeds = sums.min(dim=1, keepdim=True)
        else:
            lowest, seeds = sums.topk(k, dim=1, largest=False, sorted=False)
        sums.scatter_(1, seeds, torch.nan)  # within no limit from here on
        limits = np.empty(len(queries), dtype=np.float32)

        def merge_found(found: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
            ends = np.cumsum(counts)
            spans = np.stack([ends - counts, ends], axis=1)
            self._measure(queries, norms, found, spans, values, indices, limits)

        none = np.zeros(len(queries), dtype=np.int64)
        merge_found(none[:0], none)
        promising = lowest.cpu().numpy() <= limits[:, None]
        merge_found(seeds.cpu().numpy()[promising] + begin, promising.sum(axis=1))
        # Zeros and ones in the place of the sums; float32 counts them exactly up to 2^24.
        within = sums.le_(torch.from_numpy(limits).to(self.device)[:, None])
        left = within.sum(dim=1).cpu().numpy().astype(np.int64)
        crowded = left > max(_CROWDED_ROWS, int((end - begin) * _CROWDED))
        if crowded.any():
            within[torch.from_numpy(crowded).to(self.device)] = 0
            left[crowded] = 0
        merge_found(within.nonzero()[:, 1].cpu().numpy() + begin, left)
        whole = crowded | ~(norms <= FAR)
        if whole.any():
            spans = np.zeros((len(queries), 2), dtype=np.int64)
            spans[whole, 1] = end - begin
            every = np.arange(begin, end)
            self._measure(queries, norms, every, spans, values, indices, limits)

    def _measure(
        self,
        queries: NDArray[np.float32],
        norms: NDArray[np.float64],
        found: NDArray[np.int64],
        spans: NDArray[np.int64],
        values: NDArray[np.float64],
        indices: NDArray[np.int64],
        limits: NDArray[np.float32],
    ) -> None:
        measure(
            queries,
            norms,
            self.rows,
            found,
            spans,
            self.plan,
            self.most,
            self.frame.scale**2,
            self.product,
            UNIT * (1 + 1e-6),
            values,
            indices,
            limits,
        )
