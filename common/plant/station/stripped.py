"""What a SuperNode tells of errors by itself names no path of its station.

Our own app tells codes and advice. What goes wrong before it, or around it, Flower tells in the
words of whatever exception there was: the disk that was full while an app was unpacked, with the
file's path. Such an error is told again without them, where it leaves the station.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from flwr.app import Error, Message, Metadata

from common.hooks import table
from common.hooks.lookup import require
from common.protocol.messages import without_paths


def stripping(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the function that gives a SuperNode its calls to the server: errors lose their paths.

    Parameters
    ----------
    connect : callable
        Flower's.

    Raises
    ------
    InputError
        If Flower is not what this program was tested with.
    """
    require(table.SUPERNODE_MESSAGE)
    tree_of = require(table.SUPERNODE_TREE)

    @contextlib.contextmanager
    def stripped(*words: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*words, **named) as calls:
            node, receive, send, get_run, get_fab, pull, push, *rest = calls
            yield (
                node,
                receive,
                _sending(send, push, tree_of),
                get_run,
                get_fab,
                pull,
                push,
                *rest,
            )

    return stripped


def _sending(
    send: Callable[..., Any], push: Callable[..., Any], tree_of: Callable[..., Any]
) -> Callable[..., Any]:
    def stripped(message: Message, tree: Any, seconds: float) -> Any:
        if not message.has_error():
            return send(message, tree, seconds)
        told = without_paths(message.error.reason or "")
        if told == (message.error.reason or ""):
            return send(message, tree, seconds)
        # Flower names a message by the digest of what is in it, and the SuperLink takes its pieces
        # by name: another text is another message. Its one piece is pushed here, as the SuperNode
        # has only the first text to push, of which then nothing is asked.
        ours = _told_again(message, Error(message.error.code, told))
        name = ours.metadata.message_id
        wanted, session = send(ours, tree_of(object_id=name), seconds)
        if name in wanted:
            push(ours.metadata.run_id, session, name, ours.deflate())
        return set(), session

    return stripped


def _told_again(message: Message, error: Error) -> Message:
    def named(name: str) -> Any:
        about = message.metadata
        metadata = Metadata(
            run_id=about.run_id,
            message_id=name,
            src_node_id=about.src_node_id,
            dst_node_id=about.dst_node_id,
            reply_to_message_id=about.reply_to_message_id,
            group_id=about.group_id,
            created_at=about.created_at,
            ttl=about.ttl,
            message_type=about.message_type,
            src_task_id=about.src_task_id,
            dst_task_id=about.dst_task_id,
        )
        # Flower's types know this way of building one only inside Flower.
        build: Callable[..., Any] = Message
        return build(metadata=metadata, error=error)

    # The name is no part of what it is made from.
    again: Message = named(named("").object_id)
    return again
