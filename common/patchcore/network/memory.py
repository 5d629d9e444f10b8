"""Memory that was freed goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes


def return_free_memory() -> None:
    """Ask the C library to return what it holds of freed memory, where it can (glibc).

    It keeps blocks of up to 32 MB for later, in every thread's own share: after many images some
    hundred megabytes, which the selection of millions of rows needs more than they do.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
