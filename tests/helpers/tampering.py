"""Stations that do not keep to the protocol: honest replies, changed on their way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Message
from local_grid import Tamper

from common.protocol.messages import BuildReply
from common.protocol.records import FACTS, read_facts, take_arrays, to_record

ODD = 999
"""Node number of `station-1`, see `simulated_nodes`."""


def only(kind: str, change: Callable[[Message], Message | None]) -> Tamper:
    """Let one station misbehave in its replies to one kind of message."""

    def tamper(node: int, request: Message, reply: Message) -> Message | None:
        if node != ODD or request.metadata.message_type != kind:
            return reply
        return change(reply)

    return tamper


def with_rows(change: Callable[[Any], Any], **facts: Any) -> Callable[[Message], Message]:
    """Change the rows of a build reply, and what is said about them."""

    def rebuild(reply: Message) -> Message:
        told = read_facts(reply.content, BuildReply)
        rows = {name: change(array) for name, array in take_arrays(reply.content).items()}
        own = {name: bank.model_copy(update=facts) for name, bank in told.banks.items()}
        content = to_record(told.model_copy(update={"banks": own}), rows)
        return Message(content=content, metadata=reply.metadata)

    return rebuild


def with_facts(kind: Any, **facts: Any) -> Callable[[Message], Message]:
    def rebuild(reply: Message) -> Message:
        told = read_facts(reply.content, kind).model_copy(update=facts)
        content = to_record(told, take_arrays(reply.content))
        return Message(content=content, metadata=reply.metadata)

    return rebuild


def nan_first(rows: Any) -> Any:
    rows = rows.copy()
    rows[0, 0] = np.nan
    return rows


def raising(reply: Message) -> Message:
    raise RuntimeError("out of memory near /data/parts/0001.png")


def garbled(reply: Message) -> Message:
    reply.content.config_records[FACTS]["json"] = '{"station": '
    return reply
