"""Ctrl-C, SIGTERM and SIGHUP from the very first moment on.

Imports nothing that takes a millisecond, not even `typing`: until this is at work, Ctrl-C would
be a traceback.
"""

from __future__ import annotations

# The C half of `signal`: the other half imports `enum`, ten milliseconds on a busy machine.
import _signal
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_IMPATIENT = 3.0
"""So many seconds after a first signal a second one is a demand to leave now."""


class _State:
    """What this process knows of its own end; a forked one has another id and nothing to undo.

    Attributes
    ----------
    process : int
        Id of the process that called `begin`.
    asked : float or None
        When the first signal came.
    orderly : int
        Blocks in progress that a signal is to leave by an exception.
    shields : int
        Blocks in progress that a signal must not leave.
    pending : bool
        A signal waits for the end of a shield.
    undo : dict of object id to callable
        What must not outlive the process.
    """

    def __init__(self) -> None:
        self.process = 0
        self.asked: float | None = None
        self.orderly = self.shields = 0
        self.pending = False
        self.undo: dict[int, Callable[[], None]] = {}


STATE = _State()


def begin() -> None:
    """Take the three signals over; the first thing that a command's process does.

    One that is ignored (by `nohup`, or by a shell for what it starts in the background) stays so.
    """
    STATE.process = os.getpid()
    for name in _SIGNALS:
        number = getattr(_signal, name, None)  # Windows has no SIGHUP
        if number is not None and _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _told)


def was_interrupted() -> bool:
    """Whether a signal came: whatever error followed is the interruption's, not the program's."""
    return STATE.asked is not None


def undo_all() -> None:
    """Undo what is left, the latest first."""
    if os.getpid() == STATE.process:
        while STATE.undo:
            try:
                STATE.undo.popitem()[1]()
            except Exception:  # the others are to be undone all the same
                continue


def _told(number: int, frame: object) -> None:
    """Leave at once while there is nothing to undo; else let an exception undo it on its way."""
    if os.getpid() != STATE.process:
        os._exit(INTERRUPTED)
    first, now = STATE.asked is None, time.monotonic()
    if STATE.asked is None:
        STATE.asked = now
    if not (STATE.orderly or STATE.shields or STATE.undo):
        _leave()
    if not first:
        if now - STATE.asked >= _IMPATIENT:
            undo_all()
            _leave()
        return  # it is on its way out: what is being undone is not left half done
    if STATE.shields:
        STATE.pending = True
    else:
        raise KeyboardInterrupt


def _leave() -> None:
    try:
        os.write(2, b"fedpatchcore: interrupted\n")
    finally:
        os._exit(INTERRUPTED)
