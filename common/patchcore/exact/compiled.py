"""Compile the inner loops once, wherever the package lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(
    signature: Any, *, fastmath: bool | set[str] = False, internal: bool = False
) -> Callable[[Function], Function]:
    """Compile for one signature, without the GIL, and keep the machine code on disk if possible.

    A cache is only a convenience: in a read-only or otherwise odd place (a container, an
    application folder on a station) numba finds no folder to write in, or the disk is full;
    the function is then compiled for this process alone.

    `internal` functions are called by compiled ones alone; that saves half of their compilation.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": fastmath, "no_cfunc_wrapper": True}
    if internal:
        options["no_cpython_wrapper"] = True

    def decorate(function: Function) -> Function:
        try:
            return njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):
            return njit(signature, **options)(function)

    return decorate
