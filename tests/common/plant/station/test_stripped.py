"""Errors that Flower tells in its own words leave a station without its paths."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.start_client_internal import _insert_message, _push_messages

from common.plant.station.stripped import stripping

pytestmark = pytest.mark.usefixtures("flower_task")

FULL = "<class 'OSError'>:<'[Errno 28] No space left on device: '/srv/line 3/flower/apps/x.py''>"


class Server:
    """What a SuperLink is told, and asks for: the pieces that it does not have."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.names: list[str] = []
        self.pieces: dict[str, bytes] = {}

    @contextlib.contextmanager
    def connect(self, address: str) -> Iterator[tuple[Any, ...]]:
        assert address == "here"
        yield 5, "receive", self.send, "run", "fab", "pull", self.push, "confirm"

    def send(self, message: Message, tree: Any, seconds: float) -> tuple[set[str], str]:
        assert seconds >= 0
        self.messages.append(message)
        self.names.append(tree.object_id)
        return {tree.object_id, *(child.object_id for child in tree.children)}, "a session"

    def push(self, run_id: int, session: str, name: str, piece: bytes) -> None:
        assert (run_id, session) == (1, "a session")
        self.pieces[name] = piece

    def came(self) -> Message:
        """The one message, put together from its pieces."""
        (name,), (told,) = self.names, self.messages
        assert told.metadata.message_id == name
        return inflate_object_from_contents(name, dict(self.pieces))


def a_request() -> Message:
    asked = Message(RecordDict(), dst_node_id=5, message_type="query")
    asked.metadata.__dict__["_message_id"] = "0" * 64
    return asked


def sent(reply: Message) -> Server:
    """Let Flower's own SuperNode keep a reply and send it."""
    server = Server()
    objects = ObjectStoreFactory()
    factory = NodeStateFactory(objectstore_factory=objects)
    state, store = factory.state(), objects.store()
    state.set_node_id(5)
    _insert_message(reply, state, store)
    state.get_message_processing_duration = lambda message_id: 0.5
    with stripping(server.connect)("here") as calls:
        assert (calls[0], calls[1], *calls[3:6], calls[7]) == (
            *(5, "receive", "run", "fab", "pull"),
            "confirm",
        )
        _push_messages(state, store, calls[2], calls[6])
    return server


def test_a_full_disk_is_told_without_its_path() -> None:
    asked = a_request()
    reply = Message(Error(2, FULL), reply_to=asked)
    server = sent(reply)
    came = server.came()
    told = "<class 'OSError'>:<'[Errno 28] No space left on device: '<path>''>"
    assert (came.error.code, came.error.reason) == (2, told)
    assert server.messages[0].error.reason == told
    assert b"/srv" not in b"".join(server.pieces.values())
    about, was = came.metadata, reply.metadata
    for name in (
        *("run_id", "src_node_id", "dst_node_id", "reply_to_message_id", "group_id"),
        *("created_at", "ttl", "message_type", "src_task_id", "dst_task_id"),
    ):
        assert getattr(about, name) == getattr(was, name)
    assert about.reply_to_message_id == asked.metadata.message_id


@pytest.mark.parametrize(
    "make",
    [
        lambda asked: Message(Error(8, "ClientApp stopped responding."), reply_to=asked),
        lambda asked: Message(RecordDict(), reply_to=asked),
    ],
    ids=["an error without a path", "an answer"],
)
def test_all_else_goes_as_it_is(make: Callable[[Message], Message]) -> None:
    reply = make(a_request())
    server = sent(reply)
    came = server.came()
    assert server.names == [reply.object_id]
    assert came.has_error() == reply.has_error()
    assert get_object_tree(came).object_id == reply.object_id


def test_a_piece_that_the_server_has_is_not_pushed_again() -> None:
    server = Server()
    server.send = lambda *words: (set(), "a session")  # type: ignore[method-assign]
    reply = Message(Error(2, FULL), reply_to=a_request())
    with stripping(server.connect)("here") as calls:
        assert calls[2](reply, get_object_tree(reply), 0.5) == (set(), "a session")
    assert server.pieces == {}


PROGRAM = """
import contextlib
from flwr.app import Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import start_client_internal as loop
from common.plant.station.supernode_program import prepare

TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1

@contextlib.contextmanager
def connect():
    def send(message, tree, seconds):
        print("told", message.error.reason)
        return set(), ""
    yield 5, None, send, None, None, None, None, None

loop._init_connection = connect
prepare()
asked = Message(RecordDict(), dst_node_id=5, message_type="query")
reply = Message(Error(2, "no room in '/srv/line 3/x'"), reply_to=asked)
with loop._init_connection() as calls:
    calls[2](reply, get_object_tree(reply), 0.5)
"""


def test_a_stations_supernode_has_it(tmp_path: Path) -> None:
    """In a process of its own, as Flower's module is changed in it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--trusted-app=any"],
        env={**os.environ, "FLWR_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "told no room in '<path>'" in done.stdout
