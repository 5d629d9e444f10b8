"""The gateway as stations meet it: a real process, real TLS, a real server behind it."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import hashlib
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway_cases import (
    STREAM,
    Peak,
    Upstream,
    connected,
    exchange,
    gateway_process,
    post,
    read_answer,
    serving,
    upstream_config,
)
from processes import wait_for
from tunnel import KEY, flower_key

from common.plant.keys.making import Wanted, make_keys
from common.plant.preflight import connection

PULL = "/v1/fleet/pull-messages"
LIMIT = 8 << 20


@dataclass
class Line:
    """A gateway process and the server behind it."""

    keys: Path
    upstream: Upstream
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, *pieces: bytes) -> tuple[int, bytes]:
        return exchange(self.keys, self.port, *pieces)

    def peak(self) -> Peak:
        """Watch the memory of the gateway and its nginx."""
        return Peak(self.process.pid)

    def told(self, since: int, *words: str) -> list[str]:
        """Lines of its log since then, when all of the words are in one of them."""

        def there() -> bool:
            return any(
                all(word in line for word in words)
                for line in self.log.read_text()[since:].splitlines()
            )

        wait_for(f"{words} in the log", there, 10)
        return self.log.read_text()[since:].splitlines()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


@pytest.fixture(scope="module")
def shared_line(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    upstream, log = Upstream(), tmp_path_factory.mktemp("log") / "gateway.log"
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_process(keys, superlink, log) as (port, process),
    ):
        yield Line(keys, upstream, port, process, log)


@pytest.fixture
def line(shared_line: Line) -> Line:
    shared_line.upstream.seen.clear()
    shared_line.upstream.__init__(shared_line.upstream.seen)  # type: ignore[misc]
    return shared_line


def test_a_fleet_call_passes_as_it_was_sent(line: Line) -> None:
    line.upstream.answer = (200, [(b"content-type", b"application/x-protobuf")], b"\x00answer")
    request = post(
        PULL,
        b"\x08\x01" * 5,
        content_type="application/x-protobuf",
        flwr_timestamp="2026-01-01T00:00:00",
        flwr_signature="a signature",
        flwr_package_version="1.41.0",
        authorization="Bearer x",
        cookie="a=b",
        x_forwarded_for="10.0.0.1",
        forwarded="for=10.0.0.1",
        connection="keep-alive, x-own",
        x_own="for the next hop only",
        te="trailers",
    )
    assert line.ask(request) == (200, b"\x00answer")
    (seen,) = line.upstream.seen
    assert (seen.method, seen.path, seen.query) == ("POST", PULL.encode(), b"")
    assert seen.digest == hashlib.sha256(b"\x08\x01" * 5).hexdigest()
    port = seen.headers.pop(b"host").removeprefix(b"localhost:")
    assert port.isdigit()
    assert int(port) != line.port
    # 5 x 2 bytes; nothing that the fleet API has no use for.
    assert seen.headers == {
        b"content-length": b"10",
        b"content-type": b"application/x-protobuf",
        b"flwr-public-key": flower_key(line.keys, "clips"),
        b"flwr-timestamp": b"2026-01-01T00:00:00",
        b"flwr-signature": b"a signature",
        b"flwr-package-version": b"1.41.0",
    }


def _get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: gateway", *headers, "", ""]).encode()


REFUSED = {
    "control": post("/v1/control/list-runs"),
    "runtime": post("/v1/runtime/acquire-task"),
    "root": post("/"),
    "documentation": _get("/docs"),
    "fleet itself": post("/v1/fleet/"),
    "without end": post("/v1/fleet"),
    "dot segments": post("/v1/fleet/../control/list-runs"),
    "encoded dots": post("/v1/fleet/%2e%2e/control/list-runs"),
    "half encoded dots": post("/v1/fleet/.%2e/control/list-runs"),
    "doubly encoded dots": post("/v1/fleet/%252e%252e/control/list-runs"),
    "encoded slash": post("/v1/fleet/..%2fcontrol%2flist-runs"),
    "encoded letter": post("/v1/fleet/pull%2dmessages"),
    "backslash": post("/v1/fleet/..\\control\\list-runs"),
    "double slash": post("/v1/fleet//pull-messages"),
    "double slash first": post("//v1/fleet/pull-messages"),
    "inner dot": post("/v1/fleet/./pull-messages"),
    "slash after": post("/v1/fleet/pull-messages/"),
    "deeper": post("/v1/fleet/pull-messages/x"),
    "semicolon": post("/v1/fleet/pull-messages;/../../control/list-runs"),
    "upper case": post("/V1/FLEET/pull-messages"),
    "upper case name": post("/v1/fleet/Pull-Messages"),
    "query": post("/v1/fleet/pull-messages?a=/v1/control"),
    "absolute form": post("https://superlink:8000/v1/fleet/pull-messages"),
    "absolute form of control": post("https://superlink:8000/v1/control/list-runs"),
    "no leading slash": post("v1/fleet/pull-messages"),
    "asterisk": _get("*", method="OPTIONS"),
    "connect": _get("superlink:8000", method="CONNECT"),
    "get": _get(PULL),
    "head of health": _get("/health/", method="HEAD"),
    "put": post(PULL).replace(b"POST", b"PUT", 1),
    "lower case method": post(PULL).replace(b"POST", b"post", 1),
    "health by post": post("/health"),
    "health with a query": _get("/healthz"),
    "websocket": _get(
        PULL,
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ),
    "upgrade": post(PULL, connection="upgrade", upgrade="h2c"),
}


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused_and_named_in_the_log(line: Line, request_bytes: bytes) -> None:
    logged = len(line.log.read_text())
    with connected(line.keys, line.port) as there:
        there.sendall(request_bytes)
        if request_bytes.startswith(b"HEAD"):
            assert there.recv(4096).startswith(b"HTTP/1.1 403 ")
        else:
            status, body = read_answer(there)
            assert status == 403
            assert body == b"This gateway passes only the fleet API of SuperNodes.\n"
    assert line.upstream.seen == []
    method, target = request_bytes.split()[:2]
    said = f"refused with 403: {method.decode()} {target.partition(b'?')[0].decode()}"
    (told,) = line.told(logged, said)
    assert told.endswith("from 127.0.0.1")


def test_two_requests_at_once_are_judged_one_by_one(line: Line) -> None:
    with connected(line.keys, line.port) as there:
        there.sendall(post(PULL, b"x") + post("/v1/control/list-runs") + post(PULL, b"y"))
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 3 or not answers.endswith(b"done"):
            answers += there.recv(1 << 16)
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200", b"403", b"200"]
    assert [seen.path for seen in line.upstream.seen] == [PULL.encode()] * 2


@pytest.mark.parametrize(
    "framing",
    [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nPOST /v1/control/x",
        "content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "content-length: -1\r\n\r\n",
        "content-length : 1\r\n\r\nx",
    ],
)
def test_a_body_of_two_lengths_smuggles_nothing(line: Line, framing: str) -> None:
    head = f"POST {PULL} HTTP/1.1\r\nhost: gateway\r\nflwr-public-key: {KEY.decode()}\r\n{framing}"
    status, _ = line.ask(head.encode())
    assert status in (400, 403, 501)
    assert line.upstream.seen == []


def test_health_speaks_of_the_gateway_alone(line: Line) -> None:
    assert line.ask(_get("/health")) == (200, b"gateway\n")
    assert line.upstream.seen == []


def test_health_tells_the_time_so_that_a_station_can_compare_clocks(line: Line) -> None:
    own = line.keys / "stations" / "clips"
    trust = connection.trusting(own / "ca.crt", own / "station.pem")
    dialled = connection.resolve("127.0.0.1", line.port)
    told = connection.Line(dialled, "127.0.0.1", trust).ask("GET", "/health").headers["date"]
    theirs = email.utils.parsedate_to_datetime(told)
    assert abs((dt.datetime.now(dt.UTC) - theirs).total_seconds()) < 60


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 503])
def test_answers_that_supernodes_understand_pass_unchanged(line: Line, status: int) -> None:
    line.upstream.answer = (status, [(b"content-type", b"application/json")], b'{"code": 2004}')
    assert line.ask(post(PULL)) == (status, b'{"code": 2004}')


@pytest.mark.parametrize(
    ("status", "text"),
    [(502, b"The SuperLink cannot be reached.\n"), (504, b"The SuperLink took too long.\n")],
)
def test_a_superlink_that_is_itself_a_gateway_s_front_says_to_try_again(
    line: Line, status: int, text: bytes
) -> None:
    line.upstream.answer = (status, [], b"of another proxy")
    assert line.ask(post(PULL)) == (status, text)


@pytest.mark.parametrize("status", [500, 501, 507])
def test_a_failure_that_would_end_a_supernode_asks_it_to_try_again(line: Line, status: int) -> None:
    line.upstream.answer = (status, [], b"Internal Server Error")
    logged = len(line.log.read_text())
    assert line.ask(post(PULL)) == (503, b"The SuperLink failed; try again.\n")
    line.told(logged, f"the SuperLink answered {status} to POST {PULL} of clips from 127.0.0.1")
    line.upstream.answer = (200, [], b"again")
    assert line.ask(post(PULL)) == (200, b"again")


def test_large_bodies_stream_in_both_directions(line: Line) -> None:
    line.ask(post(PULL, STREAM))
    up, down = LIMIT // len(STREAM), 60 << 4  # pieces of 64 kB: 8 MB, 60 MB
    digest_up, digest_down = (hashlib.sha256(STREAM * pieces).hexdigest() for pieces in (up, down))
    line.upstream.mode = str(down)
    line.upstream.answer = (200, [(b"content-length", b"%d" % (len(STREAM) * down))], b"")
    digests: list[str] = []

    def both_ways() -> None:
        with connected(line.keys, line.port) as there:
            there.sendall(post(PULL, STREAM * up))
            status, body = read_answer(there)
            assert status == 200
            digests.append(hashlib.sha256(body).hexdigest())

    with line.peak() as memory:
        threads = [threading.Thread(target=both_ways) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert digests == [digest_down] * 4
    assert [seen.digest for seen in line.upstream.seen[1:]] == [digest_up] * 4
    # 4 x 8 MB up and 60 MB down at once; held are a few pieces of each.
    assert memory.more < 24


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_above_the_limit_is_refused(line: Line, declared: bool) -> None:
    size = LIMIT + len(STREAM)
    with connected(line.keys, line.port) as there:
        head = f"POST {PULL} HTTP/1.1\r\nhost: g\r\nflwr-public-key: {KEY.decode()}\r\n"
        if declared:
            there.sendall(f"{head}content-length: {size}\r\n\r\n".encode())
        else:
            there.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
            piece = b"%x\r\n%s\r\n" % (len(STREAM), STREAM)
            for _ in range(size // len(STREAM)):
                there.sendall(piece)
        status, body = read_answer(there)
    assert (status, body) == (413, b"A request may have at most 8388608 bytes here.\n")
    assert all(seen.size <= LIMIT for seen in line.upstream.seen)
    assert line.ask(post(PULL))[0] == 200


def test_a_body_of_the_limit_passes(line: Line) -> None:
    status, _ = line.ask(post(PULL, b"\x01" * LIMIT))
    assert status == 200
    assert line.upstream.seen[0].size == LIMIT


def test_headers_above_the_bound_are_refused(line: Line) -> None:
    # Above the 32 kB and unfinished, yet small enough to be sent whole before the answer comes.
    status, _ = line.ask(post(PULL, flwr_public_key="k" * 1_000_000)[:48_000])
    assert status in (400, 431)
    assert line.upstream.seen == []


def test_endless_headers_are_cut_off(line: Line) -> None:
    """Whoever goes on sending may find the connection closed before the answer is read."""
    sent = 0
    request = post(PULL, flwr_public_key="k" * 50_000_000)
    with (
        line.peak() as memory,
        connected(line.keys, line.port) as there,
        contextlib.suppress(OSError),
    ):
        for begin in range(0, len(request), 1 << 16):
            there.sendall(request[begin : begin + (1 << 16)])
            sent = begin
    # Not even half of it was taken: what the sockets hold on the way is some megabytes.
    assert sent < len(request) / 2
    assert memory.more < 20
    assert line.upstream.seen == []
    assert line.ask(_get("/health"))[0] == 200


def test_an_answer_that_breaks_off_is_cut_and_not_ended(line: Line) -> None:
    line.upstream.mode = "break"
    with connected(line.keys, line.port) as there:
        there.sendall(post(PULL))
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := there.recv(1 << 16):
                answer += piece
    assert b" 200 " in answer
    assert b"transfer-encoding: chunked" in answer.lower()
    assert not answer.endswith(b"0\r\n\r\n")
    assert line.ask(_get("/health"))[0] == 200


def test_a_superlink_that_is_down_and_comes_back(keys: Path, tmp_path: Path) -> None:
    upstream, log = Upstream(), tmp_path / "gateway.log"
    config = upstream_config(keys, upstream)
    with contextlib.ExitStack() as first:
        superlink = first.enter_context(serving(config))
        with gateway_process(keys, superlink, log) as (port, process):
            assert exchange(keys, port, post(PULL))[0] == 200
            first.close()
            for _ in range(2):
                answer = exchange(keys, port, post(PULL))
                assert answer == (502, b"The SuperLink cannot be reached.\n")
            again = "stations are told to try again"
            wait_for("a line", lambda: again in log.read_text(), 10)
            assert log.read_text().count(again) == 1
            assert f"the SuperLink localhost:{superlink} fails: connect() failed" in log.read_text()
            with serving(upstream_config(keys, upstream), superlink):
                assert exchange(keys, port, post(PULL))[0] == 200
                answers = "the SuperLink answers again"
                wait_for("a line", lambda: answers in log.read_text(), 10)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    assert "gateway ended" in log.read_text()
    assert "Traceback" not in log.read_text()
