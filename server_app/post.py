"""Letters to the stations and their answers: who said what, who kept silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.protocol.letters import GRACE_SECONDS, SEAL, Sealed, SealError
from common.protocol.messages import APP_REFUSED, Computed, Facts, without_paths
from common.protocol.records import (
    BANK,
    FAILURE,
    OWNER,
    MalformedReplyError,
    StationFailure,
    content_bytes,
    pack,
    prefixed,
    read_facts,
    take_arrays,
    to_request,
)
from server_app.careful_grid import LOST, UNSIGNED, explain_error, needs_signature
from server_app.letters import Letters
from server_app.roster import Participant, Roster, Status

Answer = TypeVar("Answer", bound=Facts)


@dataclass(frozen=True)
class Request:
    """One message to one station: facts, and rows of banks that go with them.

    `owners` say whose the rows of each bank are.
    """

    to: Participant
    facts: Facts
    rows: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    part: int = 0
    owners: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def node_id(self) -> int:
        """Where it goes."""
        if self.to.node_id is None:
            raise ValueError(f"{self.to.name} is not online and cannot be asked")
        return self.to.node_id


@dataclass(frozen=True)
class _Sent:
    """One message on its way, and its seal where letters are signed."""

    message: Message
    request: Request
    seal: Sealed | None


@dataclass(frozen=True)
class Answered:
    """One reply that came in time, matched with its request."""

    sender: Participant
    part: int
    content: RecordDict


def _distinct(requests: Sequence[Request], arrays: str) -> list[Request]:
    """One request for each set of `rows` or `owners` that goes out."""
    return list({id(getattr(request, arrays)): request for request in requests}.values())


class Post:
    """Sends requests and matches the replies, noting every fault on its participant.

    Parameters
    ----------
    roster : Roster
    timeout : float
        Seconds for one exchange; the stations are told and end themselves.

    Attributes
    ----------
    letters : Letters or None
        How requests are signed and answers believed; None in a simulation, which has no keys.
    """

    def __init__(self, roster: Roster, timeout: float) -> None:
        self.roster, self.timeout = roster, timeout
        self.letters: Letters | None = None
        self._seconds = timeout
        self._sent: list[_Sent] = []

    def messages(
        self, kind: str, requests: Sequence[Request], seconds: float | None = None
    ) -> list[Message]:
        """Turn requests into Flower messages; `receive` will match their replies."""
        self._seconds = self.timeout if seconds is None else min(seconds, self.timeout)
        self._sent = []
        # A bank that goes to every station is in memory once, not once a station.
        packed = {id(r.rows): pack(prefixed(BANK, r.rows)) for r in _distinct(requests, "rows")}
        whose = {
            id(r.owners): pack(prefixed(OWNER, r.owners)) for r in _distinct(requests, "owners")
        }
        summed: dict[int, bytes] = {}
        lifetime = self._seconds + GRACE_SECONDS
        for request in requests:
            arrays = {**packed[id(request.rows)], **whose[id(request.owners)]}
            content = to_request(request.facts, self._seconds, arrays)
            seal = None
            if self.letters is not None:
                name = request.to.name
                seal = self.letters.seal(content, name, kind, request.facts, lifetime, summed)
            message = Message(content, dst_node_id=request.node_id, message_type=kind, ttl=lifetime)
            request.to.bytes_down += content_bytes(message)
            self._sent.append(_Sent(message, request, seal))
        return [sent.message for sent in self._sent]

    def receive(self, replies: Iterable[Message]) -> list[Answered]:
        """Match replies with the last requests, in order of station name and part."""
        # Flower sets a message's id when it is pushed, and an error reply may come from node 1:
        # only the id of the request tells whose it is.
        waiting = {sent.message.metadata.message_id: sent for sent in self._sent}
        answers = []
        for reply in replies:
            sent = waiting.pop(reply.metadata.reply_to_message_id, None)
            if sent is None:
                continue
            request = sent.request
            if reply.has_error():
                lost, words = reply.error.code in LOST, explain_error(reply.error)
                if sent.seal is not None and needs_signature(
                    reply, sent.message.metadata.dst_node_id
                ):
                    words = f"{words} {UNSIGNED}"
                status: Status = "refused" if reply.error.code == APP_REFUSED else "failed"
                request.to.leave(status, words, may_return=lost)
                continue
            request.to.bytes_up += content_bytes(reply)
            if not self._believed(reply.content, sent):
                continue
            answers.append(Answered(request.to, request.part, reply.content))
        for sent in waiting.values():
            reason = f"no answer within {self._seconds:.0f} s"
            sent.request.to.leave("missing", reason, may_return=True)
        self._sent = []
        return sorted(answers, key=lambda answer: (answer.sender.name, answer.part))

    def _believed(self, content: RecordDict, sent: _Sent) -> bool:
        """Whether the station that was asked gave this answer; else it is noted, and out.

        An error carries no signature where it is Flower's, or where a station says that it could
        not obey at all. Anybody on the way can make one, as he can lose the answer: so it may say
        that a station is out, and nothing more.
        """
        if self.letters is None or sent.seal is None:
            return True
        sender = sent.request.to
        if SEAL not in content and isinstance(content.get(FAILURE), ConfigRecord):
            try:
                read_facts(content, Facts)
            except (StationFailure, MalformedReplyError) as error:
                told = without_paths(str(error))
                sender.leave("failed", f"{told} {UNSIGNED}")
            return False
        try:
            self.letters.open(content, sent.seal)
        except SealError as error:
            sender.leave("refused", str(error))
            return False
        return True

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
            if isinstance(facts, Computed) and facts.seconds > self._seconds + GRACE_SECONDS:
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
