"""Tickets for who cannot send a token: good for one request, and not for long.

A browser's `EventSource` sets no header. It fetches a ticket with its token and names that in the
address; what stays in a history or a log is worth nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Final

SECONDS: Final = 30.0
_MOST: Final = 256
"""Tickets that are not used yet; of more, the oldest is good for nothing any more."""


@dataclass(frozen=True)
class Ticket:
    """A ticket as its owner gets it.

    Attributes
    ----------
    text : str
    seconds : float
        How long it is good.
    """

    text: str
    seconds: float


class Tickets:
    """The tickets of a running service, of which it keeps the sha256 alone, in memory.

    Parameters
    ----------
    seconds : float
        How long each is good.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._lock = threading.Lock()
        self._open: dict[bytes, tuple[str, float]] = {}

    def issue(self, role: str) -> Ticket:
        """Make one for a role."""
        text, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._open = {key: one for key, one in self._open.items() if one[1] > now}
            if len(self._open) >= _MOST:
                del self._open[next(iter(self._open))]
            self._open[_digest(text)] = (role, now + self.seconds)
        return Ticket(text, self.seconds)

    def take(self, text: str) -> str | None:
        """The role of a ticket, which is used up by that; None if it is not good (any more)."""
        with self._lock:
            role, until = self._open.pop(_digest(text), ("", 0.0))
        return role if role and time.monotonic() < until else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
