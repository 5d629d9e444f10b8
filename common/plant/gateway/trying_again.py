"""A change that could not be taken over: when it is tried again, and when that is said again."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 60.0
SAID_AGAIN_SECONDS: Final = 600.0


class TryingAgain:
    """Bounds tries and words about one change after the other.

    What failed once may work a minute later with nothing changed: a machine that was too busy, a
    disk that was full. So it is never given up; a change that is another one is tried at once.
    """

    def __init__(self) -> None:
        self._what: object = None
        self._pause, self._from = 0.0, 0.0
        self._reason, self._said = "", 0.0

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._what is not None

    def due(self, what: object, now: float) -> bool:
        """Whether to try this (again); `now` is in seconds of any one clock."""
        return what != self._what or now >= self._from

    def failed(self, what: object, reason: str, now: float) -> str:
        """Note a failure; what to say about it, "" if it was said a short while ago."""
        again = what == self._what
        self._pause = min(2 * self._pause, LONGEST_SECONDS) if again else FIRST_SECONDS
        self._what, self._from = what, now + self._pause
        if again and reason == self._reason and now - self._said < SAID_AGAIN_SECONDS:
            return ""
        self._reason, self._said = reason, now
        return f"{reason}; it is tried again, now in {self._pause:g} s"

    def done(self) -> None:
        """Note that nothing is left to try."""
        self._what, self._pause, self._reason = None, 0.0, ""
