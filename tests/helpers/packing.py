"""What Flower does with a message on its way: taken to pieces, sent, put together again."""

from __future__ import annotations

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents


def sent(message: Message) -> Message:
    """The same message, of new objects, as the other side gets it."""
    pieces = {name: piece.deflate() for name, piece in get_all_nested_objects(message).items()}
    # The bodies of all pieces lie beside each other: the order of the dictionary is not the one.
    reversed_pieces = dict(reversed(list(pieces.items())))
    return inflate_object_from_contents(message.object_id, reversed_pieces)
