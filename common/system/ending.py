"""How a command ends when it is told to, at any moment, by Ctrl-C, SIGTERM or SIGHUP.

As long as nothing has been begun that must be undone, the process leaves at once. After that the
three signals raise `KeyboardInterrupt`, so that everything is undone on the way out. Imports
little: it is to be at work before anything else is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

INTERRUPTED: Final = 130
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_IMPATIENT: Final = 3.0
"""So many seconds after a first signal a second one is a demand to leave now."""
_LINE: Final = b"fedpatchcore: interrupted\n"

Thing = TypeVar("Thing")


class _State:
    """What this process knows of its own end; a forked one has another id and nothing to undo."""

    def __init__(self) -> None:
        self.process = 0
        self.asked: float | None = None
        self.orderly = self.shields = 0
        self.pending = False
        self.undo: dict[int, Callable[[], None]] = {}


_STATE: Final = _State()


def begin() -> None:
    """Take the three signals over; the first thing that a command's process does.

    One that is ignored (by `nohup`, or by a shell for what it starts in the background) stays so.
    """
    _STATE.process = os.getpid()
    for name in _SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _told)


def was_interrupted() -> bool:
    """Whether a signal came: whatever error followed is the interruption's, not the program's."""
    return _STATE.asked is not None


def finish(code: int) -> None:
    """Undo what is still there, and end the process with this exit code."""
    undo_all()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    sys.exit(code)


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Let the signals raise `KeyboardInterrupt` in here: there is something to finish or undo."""
    _STATE.orderly += 1
    try:
        yield
    finally:
        _STATE.orderly -= 1


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Let a signal wait until the end of this block, which is short."""
    _STATE.shields += 1
    try:
        yield
    finally:
        _STATE.shields -= 1
        if _STATE.pending and not _STATE.shields:
            _STATE.pending = False
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
        _STATE.undo[id(thing)] = lambda: undo(thing)
    try:
        yield thing
    finally:
        with shielded():
            if action := _STATE.undo.pop(id(thing), None):
                action()


def undo_all() -> None:
    """Undo what is left, the latest first."""
    if os.getpid() == _STATE.process:
        while _STATE.undo:
            with contextlib.suppress(Exception):
                _STATE.undo.popitem()[1]()


def _told(number: int, frame: object) -> None:
    if os.getpid() != _STATE.process:
        os._exit(INTERRUPTED)
    first, now = _STATE.asked is None, time.monotonic()
    if first:
        _STATE.asked = now
    if not (_STATE.orderly or _STATE.shields or _STATE.undo):
        _leave()
    if not first:
        if now - (_STATE.asked or now) >= _IMPATIENT:
            undo_all()
            _leave()
        return  # it is on its way out: what is being undone is not left half done
    if _STATE.shields:
        _STATE.pending = True
    else:
        raise KeyboardInterrupt


def _leave() -> None:
    with contextlib.suppress(OSError):
        os.write(2, _LINE)
    os._exit(INTERRUPTED)
