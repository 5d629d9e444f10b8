"""A careful grid that tells which station is asked for what, and when it has answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from server_app.careful_grid import CarefulGrid
from server_app.outcome import Outcome
from server_app.standing import Standing

_STEPS: Final = {
    MessageType.QUERY: ("survey", "plan"),
    MessageType.TRAIN: ("build banks", "merge the banks"),
    f"{MessageType.TRAIN}.take_bank": ("take the global bank", "go on"),
    f"{MessageType.TRAIN}.deliver": ("store and test the model", "go on"),
    MessageType.EVALUATE: ("score", "add the scores up"),
}
"""Kind of message -> what the stations do, and what the server does with their answers."""


class ToldGrid(CarefulGrid):
    """Tells a run's standing of every request and answer.

    Parameters
    ----------
    inside : Grid
    standing : Standing
    outcome : Outcome
        Knows the stations' names.
    """

    def __init__(self, inside: Grid, standing: Standing, outcome: Outcome) -> None:
        super().__init__(inside)
        self._standing, self._outcome = standing, outcome
        self._round = 0

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """As the careful grid, telling who is asked and when all have answered."""
        sent = list(messages)
        if not sent:
            return super().send_and_receive(sent, timeout=timeout)
        kind = sent[0].metadata.message_type
        during, after = _STEPS.get(kind, (kind, kind))
        if kind == MessageType.TRAIN:
            self._round += 1
        server_round = self._round or None
        names = [self._name(message) for message in sent]
        self._standing.asked(during, names, server_round)
        replies = super().send_and_receive(sent, timeout=timeout)
        self._standing.step(after, server_round)
        return replies

    def _pull(self, identifier: str, request: Message) -> list[Message]:
        found = super()._pull(identifier, request)
        for reply in found:
            self._standing.answered(self._name(request), failed=reply.has_error())
        return found

    def _name(self, request: Message) -> str:
        participant = self._outcome.roster.by_node.get(request.metadata.dst_node_id)
        return participant.name if participant is not None else "?"
