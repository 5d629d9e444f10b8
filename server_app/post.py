"""Letters to the stations and their answers: who said what, who kept silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.protocol.messages import Computed, Facts, as_sentence, without_paths
from common.protocol.records import (
    BANK,
    MalformedReplyError,
    StationFailure,
    content_bytes,
    pack,
    prefixed,
    read_facts,
    take_arrays,
    to_request,
)
from server_app.careful_grid import NOT_TAKEN_CODE
from server_app.roster import Participant, Roster

Answer = TypeVar("Answer", bound=Facts)

_GRACE_SECONDS: Final = 60.0
_LOST: Final = frozenset({3, 4, 5, 8})
"""Flower's errors after which a station may come back: nobody knows what became of it."""
_FLOWER_ERRORS: Final = {
    1: "its program could not be loaded",
    2: "its program raised an error",
    3: "the request was lost on its way",
    4: "the answer was lost on its way",
    5: "its SuperNode went away",
    6: "a mod of its program refused",
    7: "it does not accept this app",
    8: "its program ended without an answer",
}

_NOT_TAKEN: Final = (
    "the SuperLink did not accept the request, so it never left the server; the server's log says "
    "why. If it was too large (413): raise the limit of whatever stands before the SuperLink, or "
    "lower global-bank-size"
)


@dataclass(frozen=True)
class Request:
    """One message to one station: facts, and rows of banks that go with them."""

    to: Participant
    facts: Facts
    rows: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    part: int = 0

    @property
    def node_id(self) -> int:
        """Where it goes."""
        if self.to.node_id is None:
            raise ValueError(f"{self.to.name} is not online and cannot be asked")
        return self.to.node_id


@dataclass(frozen=True)
class Answered:
    """One reply that came in time, matched with its request."""

    sender: Participant
    part: int
    content: RecordDict


def _explain(error: Error) -> str:
    """Put a Flower error into words, without the paths that a traceback may hold."""
    if error.code == NOT_TAKEN_CODE:
        return _NOT_TAKEN
    words = _FLOWER_ERRORS.get(error.code, "its program or SuperNode failed")
    said = without_paths(as_sentence(error.reason or ""))[:500]
    return f"{words} (Flower error {error.code}: {said or 'no reason given'})"


def _distinct_rows(requests: Sequence[Request]) -> list[Request]:
    """One request for each set of rows that goes out."""
    return list({id(request.rows): request for request in requests}.values())


class Post:
    """Sends requests and matches the replies, noting every fault on its participant.

    Parameters
    ----------
    roster : Roster
    timeout : float
        Seconds for one exchange; the stations are told and end themselves.
    """

    def __init__(self, roster: Roster, timeout: float) -> None:
        self.roster, self.timeout = roster, timeout
        self._seconds = timeout
        self._sent: list[tuple[Message, Request]] = []

    def messages(
        self, kind: str, requests: Sequence[Request], seconds: float | None = None
    ) -> list[Message]:
        """Turn requests into Flower messages; `receive` will match their replies."""
        self._seconds = self.timeout if seconds is None else min(seconds, self.timeout)
        self._sent = []
        # A bank that goes to every station is in memory once, not once a station.
        packed = {id(r.rows): pack(prefixed(BANK, r.rows)) for r in _distinct_rows(requests)}
        for request in requests:
            message = Message(
                to_request(request.facts, self._seconds, packed[id(request.rows)]),
                dst_node_id=request.node_id,
                message_type=kind,
                ttl=self._seconds + _GRACE_SECONDS,
            )
            request.to.bytes_down += content_bytes(message)
            self._sent.append((message, request))
        return [message for message, _ in self._sent]

    def receive(self, replies: Iterable[Message]) -> list[Answered]:
        """Match replies with the last requests, in order of station name and part."""
        # Flower sets a message's id when it is pushed, and an error reply may come from node 1:
        # only the id of the request tells whose it is.
        waiting = {message.metadata.message_id: request for message, request in self._sent}
        answers = []
        for reply in replies:
            request = waiting.pop(reply.metadata.reply_to_message_id, None)
            if request is None:
                continue
            if reply.has_error():
                lost = reply.error.code in _LOST
                request.to.leave("failed", _explain(reply.error), may_return=lost)
                continue
            request.to.bytes_up += content_bytes(reply)
            answers.append(Answered(request.to, request.part, reply.content))
        for request in waiting.values():
            reason = f"no answer within {self._seconds:.0f} s"
            request.to.leave("missing", reason, may_return=True)
        self._sent = []
        return sorted(answers, key=lambda answer: (answer.sender.name, answer.part))

    def exchange(
        self, grid: Grid, kind: str, requests: Sequence[Request], seconds: float | None = None
    ) -> list[Answered]:
        """Send requests and wait for their replies, at most so many seconds."""
        messages = self.messages(kind, requests, seconds)
        return self.receive(grid.send_and_receive(messages, timeout=self._seconds))

    def read(self, answer: Answered, kind: type[Answer], *, arrays: bool = True) -> Answer | None:
        """Unpack an answer; a station's own error or a malformed one is noted instead.

        Parameters
        ----------
        arrays : bool
            Whether arrays may come with it, which are then still to be taken.
        """
        try:
            facts = read_facts(answer.content, kind)
            if isinstance(facts, Computed) and facts.seconds > self._seconds + _GRACE_SECONDS:
                raise MalformedReplyError(
                    f"took {facts.seconds:.0f} s by its own word, and came within "
                    f"{self._seconds:.0f} s"
                )
            if not arrays:
                take_arrays(answer.content, names=())
            return facts
        except StationFailure as failure:
            answer.sender.leave("failed", str(failure))
        except MalformedReplyError as error:
            answer.sender.leave("refused", f"sent an unusable answer: {error}")
        return None
