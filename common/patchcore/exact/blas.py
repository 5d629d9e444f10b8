"""How many threads work, and keeping the BLAS library out of their way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

_MOST_THREADS = 16


def usable_threads(threads: int | None) -> int:
    """Return `threads`, or by default the CPUs that this process may run on."""
    if threads is not None:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    return min(os.cpu_count() or 1, _MOST_THREADS)


@cache
def _controller() -> ThreadpoolController:
    """Find the BLAS libraries of this process, once: the look-up takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run every BLAS call in the thread that makes it; our own threads share the work."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
