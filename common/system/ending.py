"""What a command has begun is finished or undone, however it ends; see `signals`."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from common.system.signals import STATE, undo_all

Thing = TypeVar("Thing")


def finish(code: int) -> None:
    """Undo what is still there, and end the process with this exit code."""
    undo_all()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    gc.freeze()  # nobody needs the last look for garbage, half a second where torch is
    sys.exit(code)


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Let the signals raise `KeyboardInterrupt` in here: there is something to finish."""
    STATE.orderly += 1
    try:
        yield
    finally:
        STATE.orderly -= 1


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Let a signal wait until the end of this block, which is short."""
    STATE.shields += 1
    try:
        yield
    finally:
        STATE.shields -= 1
        if STATE.pending and not STATE.shields:
            STATE.pending = False
            raise KeyboardInterrupt


@contextlib.contextmanager
def undone(make: Callable[[], Thing], undo: Callable[[Thing], None]) -> Iterator[Thing]:
    """Make something that must not outlive the command, however that ends.

    Parameters
    ----------
    make : callable
        Makes it; a signal waits meanwhile, so that it is either not there or known.
    undo : callable (thing)
        Called once: at the end of the block, or else at the end of the process.
    """
    with shielded():
        thing = make()
        STATE.undo[id(thing)] = lambda: undo(thing)
    try:
        yield thing
    finally:
        with shielded():
            if action := STATE.undo.pop(id(thing), None):
                action()
