"""A line in the log now and then while a long step runs: how far it is, how long it will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_LOG = logging.getLogger("fedpatchcore")
_EVERY_SECONDS = 30.0


class Estimate:
    """Progress callback (done, total) that logs every half minute; short work logs nothing.

    Parameters
    ----------
    what : str
        As `"images read"`.
    also : callable (done, total), optional
        Is called every time.

    Notes
    -----
    The time left is that of the work so far, in proportion. For a coreset selection it is a rough
    guess: its later choices take longer or shorter than its first.
    """

    def __init__(self, what: str, also: Callable[[int, int], None] | None = None) -> None:
        self._what, self._also = what, also
        self._began = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Take note of how far the work is."""
        now = time.monotonic()
        if now - self._told >= _EVERY_SECONDS and 0 < done < total:
            self._told = now
            left = (now - self._began) * (total - done) / done
            _LOG.info("%s: %d of %d, about %.0f s left", self._what, done, total, left)
        if self._also is not None:
            self._also(done, total)
