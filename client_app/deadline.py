"""A station that hangs ends itself: nothing else in Flower would."""

from __future__ import annotations

import faulthandler
import os
import threading
from types import TracebackType
from typing import Final, Self

EXIT_CODE: Final = 70
IMPORT_SECONDS: Final = 600.0
"""Loading PyTorch from a cold disk takes a minute; a network drive that is gone takes for ever."""
_LAST_RESORT_SECONDS: Final = 10.0
_STDERR: Final = 2


class Deadline:
    """Ends the process if the work inside takes longer than allowed.

    A hung ClientApp blocks its SuperNode for all later runs, because a SuperNode handles one
    message at a time and never kills one. A hard exit is reported to the server by Flower.

    Parameters
    ----------
    seconds : float or None
        None for no limit.

    Notes
    -----
    A thread ends the process in time. Should native code hold Python's lock so that no thread gets
    a turn, a watchdog of the interpreter itself, which needs none, does so ten seconds later and
    prints where every thread was.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._timer = threading.Timer(self._seconds, os._exit, args=(EXIT_CODE,))
            self._timer.daemon = True
            self._timer.start()
            faulthandler.dump_traceback_later(
                self._seconds + _LAST_RESORT_SECONDS, exit=True, file=_STDERR
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            faulthandler.cancel_dump_traceback_later()
