"""A grid that one broken answer, or one moment of a busy SuperLink, does not end a run for all."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Final

import httpx
from flwr.app import Error, Message
from flwr.common import log
from flwr.serverapp import Grid
from google.protobuf.message import DecodeError

from common.hooks.lookup import require
from common.hooks.table import RETRIES
from common.protocol.messages import APP_REFUSED, as_sentence, without_paths

_POLL_SECONDS: Final = 3.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 300.0
"""How long a SuperLink may go on answering 500 before the run ends."""
UNREADABLE_CODE: Final = 0
"""Flower's code for an error of unknown kind."""
NOT_TAKEN_CODE: Final = 100
"""Our own, far from Flower's: the SuperLink did not take the request."""


class OwnError(Error):
    """An error that this process itself has found: none that came over the network is one."""


_UNPACKING: Final = (
    ValueError,  # json.JSONDecodeError and UnicodeDecodeError are among them
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    RecursionError,
    DecodeError,
)
"""What Flower raises for a message whose pieces do not fit; faults of the connection are others."""


LOST: Final = frozenset({3, 4, 5, 8})
"""Flower's errors after which a station may come back: nobody knows what became of it."""
UNSIGNED: Final = "(without a signature: anybody on the way can say so)"
_NO_ANSWER: Final = frozenset({3, 4, 5})
"""Those that the SuperLink tells by itself."""
_FLOWER_ERRORS: Final = {
    1: "its program could not be loaded",
    2: "its program raised an error",
    3: "the request was lost on its way",
    4: "the answer was lost on its way",
    5: "its SuperNode went away",
    6: "a mod of its program refused",
    APP_REFUSED: "it does not take this app",
    8: "its program ended without an answer",
}

_DISK_FULL: Final = (
    "its disk was full when Flower unpacked the app; make room there and run again, there is "
    "nothing to clear away"
)
_NOT_TAKEN: Final = (
    "the SuperLink did not accept the request, so it never left the server; the server's log says "
    "why. If it was too large (413): raise the limit of whatever stands before the SuperLink, or "
    "lower global-bank-size"
)


class CarefulGrid(Grid):
    """A grid like the one inside, but for replies that Flower cannot unpack.

    Flower's own `send_and_receive` pulls all replies at once: a station that sends pieces that do
    not fit together would end the run for all others.

    Parameters
    ----------
    inside : Grid
    """

    def __init__(self, inside: Grid) -> None:
        self._inside = inside

    def set_run(self, run: Any) -> None:
        """As the grid inside."""
        self._inside.set_run(run)

    @property
    def run(self) -> Any:
        """As the grid inside."""
        return self._inside.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """As the grid inside."""
        return self._inside.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """As the grid inside."""
        return self._inside.get_node_ids()

    def get_nodes(self) -> Iterable[Any]:
        """As the grid inside."""
        return self._inside.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the grid inside."""
        return self._inside.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the grid inside."""
        return self._inside.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Send messages and pull the replies.

        An unreadable one becomes an error reply, and so does a request that was never sent.
        """
        sent = list(messages)
        # Flower returns None for a message that was not taken, and nothing at all for a 413.
        ids = [*self._inside.push_messages(sent), *repeat(None, len(sent))][: len(sent)]
        waiting = {i: message for i, message in zip(ids, sent, strict=True) if i}
        until = None if timeout is None else time.monotonic() + timeout
        replies = [
            Message(OwnError(code=NOT_TAKEN_CODE, reason=""), reply_to=message)
            for i, message in zip(ids, sent, strict=True)
            if not i
        ]
        while waiting:
            for identifier in list(waiting):
                found = self._pull(identifier, waiting[identifier])
                if found:
                    replies += found
                    del waiting[identifier]
            if not waiting or (until is not None and time.monotonic() >= until):
                break
            time.sleep(_POLL_SECONDS)
        return replies

    def _pull(self, identifier: str, request: Message) -> list[Message]:
        try:
            return list(self._inside.pull_messages([identifier]))
        except _UNPACKING as error:
            why = as_sentence(str(error))[:200]
            reason = f"its answer cannot be unpacked ({type(error).__name__}: {why})"
            return [Message(OwnError(code=UNREADABLE_CODE, reason=reason), reply_to=request)]


def be_patient(grid: Grid, seconds: float = PATIENCE_SECONDS) -> None:
    """Ask again when the SuperLink answers 500, as Flower itself does for 502 to 504.

    While a SuperLink deletes a large message, its database is locked for everyone; it gives the
    others five seconds and then answers 500 ("database is locked"). On a busy disk that is not
    enough. What it answers 500 to it has not done, so asking again is safe.

    Parameters
    ----------
    grid : Grid
        One that talks to a SuperLink over the network.
    seconds : float
        Given up after so long without anything but 500.

    Raises
    ------
    InputError
        If Flower's grid is not what this program was tested with.
    """
    invoker = require(RETRIES, grid)
    gives_up: Callable[[Exception], bool] = invoker.should_giveup
    first = last = 0.0

    def should_give_up(error: Exception) -> bool:
        nonlocal first, last
        if not isinstance(error, httpx.HTTPStatusError) or error.response.status_code != 500:
            return gives_up(error)
        now = time.monotonic()
        # Longer ago than any pause between two tries: that was another time of trouble.
        if now - last > max(seconds, _LONGEST_PAUSE_SECONDS):
            first = now
        last = now
        log(logging.WARNING, "the SuperLink answered 500; asking again: %s", error.request.url.path)
        return now - first > seconds

    invoker.should_giveup = should_give_up


def explain_error(error: Error) -> str:
    """Put a Flower error into words, without the paths that a traceback may hold.

    Parameters
    ----------
    error : Error
        Whoever's. That a request never left the server only the server itself can tell.
    """
    if isinstance(error, OwnError) and error.code == NOT_TAKEN_CODE:
        return _NOT_TAKEN
    words = _FLOWER_ERRORS.get(error.code, "its program or SuperNode failed")
    if f"[Errno {errno.ENOSPC}]" in (error.reason or ""):
        return f"{words}: {_DISK_FULL}"
    said = without_paths(as_sentence(error.reason or ""))[:500]
    if error.code == APP_REFUSED and said.startswith("the app"):
        return said  # the station's guard gives its reason in full
    return f"{words} (Flower error {error.code}: {said or 'no reason given'})"


def needs_signature(reply: Message, node_id: int) -> bool:
    """Whether what an error says would have to be signed to be believed.

    What this process has found by itself is beyond doubt. What the SuperLink says in its own name
    (that a node or a message is not there) is no more than that no answer came: whoever could make
    that up could as well keep the answer back, and then nothing would be said of a signature
    either. All else is said in the name of the station that was asked, and no error of Flower's
    carries a seal.

    Parameters
    ----------
    reply : Message
        With an error.
    node_id : int
        Of the station that was asked.
    """
    if isinstance(reply.error, OwnError):
        return False
    return reply.error.code not in _NO_ANSWER or reply.metadata.src_node_id == node_id
