"""Banks on their way to the stations, in parts that a message has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flwr.app import MessageType
from flwr.serverapp import Grid

from common.protocol.messages import BankPart, Received
from server_app.delivery.holdings import Holdings
from server_app.post import Answered, Post, Request
from server_app.roster import Participant

TAKE_BANK: Final = f"{MessageType.TRAIN}.take_bank"


def send_banks(
    post: Post,
    grid: Grid,
    stations: Callable[[], Sequence[Participant]],
    server_round: int,
    holdings: Holdings,
    at_least: int = 1,
) -> None:
    """Have stations store the banks that each has a use for, part by part.

    Parameters
    ----------
    post : Post
    grid : Grid
    stations : callable () -> sequence of Participant
        Those that are still in: asked again before every part.
    server_round : int
        Whose banks these are.
    holdings : Holdings
    at_least : int
        Whose banks come in fewer parts is sent none.
    """
    most = max((holdings.parts(station) for station in stations()), default=0)
    if most < at_least:
        return
    for part in range(most):
        requests = []
        for station in stations():
            parts = holdings.parts(station)
            if part < parts and parts >= at_least:
                facts = BankPart(round=server_round, part=part, parts=parts)
                requests.append(Request(station, facts, holdings.part(station, part, parts), part))
        for answer in post.exchange(grid, TAKE_BANK, requests):
            _take_receipt(post, answer, part)
        holdings.forget()


def _take_receipt(post: Post, answer: Answered, part: int) -> None:
    """Make sure that the right station has stored the right part."""
    reply, sender = post.read(answer, Received, arrays=False), answer.sender
    asked = sender.survey.station if sender.survey else sender.name
    if reply is not None and (reply.station, reply.part) != (asked, part):
        sender.leave(
            "refused",
            f"confirmed part {reply.part} as {reply.station!r}, was sent part {part} as {asked!r}",
        )
