"""A station that hangs ends itself: nothing else in Flower would."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final, Self

EXIT_CODE: Final = 70


class Deadline:
    """Ends the process if the work inside takes longer than allowed.

    A hung ClientApp blocks its SuperNode for all later runs, because a SuperNode handles one
    message at a time and never kills one. A hard exit is reported to the server by Flower.

    Parameters
    ----------
    seconds : float or None
        None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._timer = None
        if seconds is not None:
            self._timer = threading.Timer(seconds, os._exit, args=(EXIT_CODE,))
            self._timer.daemon = True

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
