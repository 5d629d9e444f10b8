"""A log that no flood can fill: of each kind so many lines a minute, the rest as a count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LINES: Final = 60
SECONDS: Final = 60.0


class BoundedLog:
    """Passes sentences on, at most `lines` of one kind within `seconds`.

    Parameters
    ----------
    tell : callable (text)
    lines : int
    seconds : float

    Notes
    -----
    Holds a count and the last sentence of each kind: kinds are few, and named by the program.
    """

    def __init__(
        self, tell: Callable[[str], object], lines: int = LINES, seconds: float = SECONDS
    ) -> None:
        self.tell, self._lines, self._seconds = tell, lines, seconds
        self._kinds: dict[str, _Kind] = {}

    def say(self, kind: str, text: str, now: float) -> None:
        """Tell a sentence, or count it; `now` is in seconds of any one clock."""
        here = self._kinds.setdefault(kind, _Kind(now))
        if now - here.since >= self._seconds:
            self._close(here, now)
        if here.told < self._lines:
            here.told += 1
            self.tell(text)
        else:
            here.more, here.last = here.more + 1, text

    def tick(self, now: float) -> None:
        """Tell the counts of every minute that is over."""
        for here in self._kinds.values():
            if now - here.since >= self._seconds:
                self._close(here, now)

    def end(self, now: float) -> None:
        """Tell every count that is left."""
        for here in self._kinds.values():
            self._close(here, now)

    def _close(self, here: _Kind, now: float) -> None:
        if here.more:
            seconds = now - here.since
            self.tell(f"{here.more} more lines like this within {seconds:.0f} s: {here.last}")
        here.since, here.told, here.more, here.last = now, 0, 0, ""


class _Kind:
    """One kind's lines since a moment."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.told = self.more = 0
        self.last = ""
