"""A SuperLink that is busy for a moment: asked again, for as long as it is sensible."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from flwr.app import Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.runtime_pb2 import GetNodesResponse
from flwr.supercore.run import Run
from flwr.superlink.grid import HttpGrid

from server_app.careful_grid import NOT_TAKEN_CODE, CarefulGrid, be_patient, explain_error

pytestmark = pytest.mark.usefixtures("flower_task")


class Busy(BaseHTTPRequestHandler):
    """Answers 500 as often as `failures` says, then as a SuperLink."""

    failures = 0
    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        busy = type(self).asked <= type(self).failures
        nodes = GetNodesResponse(nodes=[NodeInfo(node_id=7)]).SerializeToString()
        body = b"database is locked" if busy else nodes
        self.send_response(500 if busy else 200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpGrid]:
    monkeypatch.setattr(Busy, "asked", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        grid = HttpGrid(f"127.0.0.1:{server.server_address[1]}", insecure=True, token="t")
        yield grid
        grid.close()
        server.shutdown()
        thread.join(10)


def test_a_busy_superlink_is_asked_again(grid: HttpGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Busy, "failures", 2)
    be_patient(grid)
    assert [node.node_id for node in grid.get_nodes()] == [7]
    assert Busy.asked == 3


@pytest.mark.parametrize("patient", [False, True])
def test_patience_ends(grid: HttpGrid, monkeypatch: pytest.MonkeyPatch, patient: bool) -> None:
    monkeypatch.setattr(Busy, "failures", 10**6)
    if patient:
        be_patient(grid, seconds=2.0)
    with pytest.raises(httpx.HTTPStatusError):
        grid.get_nodes()
    # Without it the first 500 ends all: that is what Flower does by itself.
    assert (Busy.asked > 1) is patient


class Refusing(Busy):
    """Takes nothing, as a proxy with a limit does."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(413)
        self.send_header("content-length", "0")
        self.end_headers()


def test_a_request_that_is_not_taken_is_answered_at_once(
    grid: HttpGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was waited for, two hours long, and told as a station's silence."""
    monkeypatch.setattr(Busy, "do_POST", Refusing.do_POST)
    grid.set_run(Run(**{**dict.fromkeys(field.name for field in fields(Run)), "run_id": 1}))
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in (7, 8)]
    begun = time.monotonic()
    replies = CarefulGrid(grid).send_and_receive(messages, timeout=7200)
    assert time.monotonic() - begun < 60
    assert [reply.error.code for reply in replies] == [NOT_TAKEN_CODE] * 2
    assert [reply.metadata.src_node_id for reply in replies] == [7, 8]
    assert "413" in explain_error(replies[0].error)
    assert "lower global-bank-size" in explain_error(replies[0].error)
