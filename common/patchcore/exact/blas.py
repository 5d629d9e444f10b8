"""How many threads work, and keeping the BLAS library out of their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

from common.system.cpus import usable_cpus

_MOST_THREADS = 16


def usable_threads(threads: int | None) -> int:
    """Return `threads`, or by default the CPUs that this process may run on."""
    if threads is not None:
        return threads
    return min(usable_cpus(), _MOST_THREADS)


@cache
def _controller() -> ThreadpoolController:
    """Find the BLAS libraries of this process, once: the look-up takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run every BLAS call in the thread that makes it; our own threads share the work."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
