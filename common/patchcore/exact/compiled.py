"""Compile the inner loops once a machine, wherever the package lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

from common.paths import cache_root

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
            place_by_content(function)
            return njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):
            return njit(signature, **options)(function)

    return decorate


def place_by_content(function: Callable[..., Any]) -> None:
    """Let a function's source lie in a folder of the cache that is named by its content.

    numba keeps machine code by the place of its source, and Flower unpacks the app in a new place
    for each simulation: each of its processes would compile everything again. The name is that of
    all sources beside it, too, since compiled functions take others and constants from there.

    Raises
    ------
    OSError
        If the cache cannot be written.
    """
    source = Path(function.__code__.co_filename)
    copy = _folder(source.parent) / source.name
    if not copy.is_file():
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = copy.with_suffix(f".{os.getpid()}.partial")
        part.write_bytes(source.read_bytes())
        part.replace(copy)
    function.__code__ = function.__code__.replace(co_filename=str(copy))


@cache
def _folder(sources: Path) -> Path:
    """Folder in the cache for the sources of one folder; a user's own folder for numba counts."""
    content = hashlib.sha256()
    for path in sorted(sources.glob("*.py")):
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    root = Path(chosen) / "sources" if chosen else cache_root() / "compiled"
    return root / content.hexdigest()[:16]
