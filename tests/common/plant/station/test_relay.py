"""The relay between a SuperNode and its gateway: bytes untouched, times noted, ends understood."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from gateway_cases import Upstream, gateway_in_thread, serving, upstream_config

from common.plant.keys.making import Wanted, make_keys
from common.plant.server.gateway import Limits
from common.plant.station import relay as relay_module
from common.plant.station.relay import Relay
from common.runs.processes import free_ports

FATAL = ("certificate", "ssl", "tls")
"""In the text of an error, what makes a SuperNode give up (flwr.supercore.retry.http_retry)."""


@contextlib.contextmanager
def relaying(address: tuple[str, int]) -> Iterator[tuple[Relay, list[str]]]:
    """Run a relay in a thread; the list takes what it tells."""
    told: list[str] = []
    relay = Relay(address, told.append, lambda: told.append("reachable"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(relay.start(), loop).result(5)
        yield relay, told
    finally:
        asyncio.run_coroutine_threadsafe(relay.close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@contextlib.contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A plain TCP server that gives each connection to `handle` and closes it after."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = server.accept()
                threading.Thread(target=serve_one, args=(one,)).start()

    def serve_one(one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):
            one.settimeout(20)
            handle(one)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(server.getsockname()[1])
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def echo(one: socket.socket) -> None:
    while piece := one.recv(1 << 16):
        one.sendall(piece)


def read_all(one: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = one.recv(1 << 16)
        assert piece
        found += piece
    return bytes(found)


def test_bytes_pass_unchanged_in_both_directions() -> None:
    sent = os.urandom(5_000_000)
    with (
        listening(echo) as port,
        relaying(("127.0.0.1", port)) as (relay, told),
        socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one,
    ):
        threading.Thread(target=one.sendall, args=(sent,)).start()
        assert read_all(one, len(sent)) == sent
        assert told == []


def test_the_times_of_the_last_words_are_noted() -> None:
    with listening(echo) as port, relaying(("127.0.0.1", port)) as (relay, _):
        assert relay.last_sent is relay.last_answer is None
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one:
            one.sendall(b"first")
            read_all(one, 5)
            first = relay.last_sent, relay.last_answer
            time.sleep(0.3)
            # Nothing said, nothing noted.
            assert (relay.last_sent, relay.last_answer) == first
            one.sendall(b"second")
            read_all(one, 6)
            for before, after in zip(first, (relay.last_sent, relay.last_answer), strict=True):
                assert before is not None
                assert after is not None
                assert 0.3 <= after - before < 5
        relay.forget()
        assert relay.last_sent is relay.last_answer is None


def test_an_end_on_either_side_ends_the_other() -> None:
    ended = threading.Event()

    def until_end(one: socket.socket) -> None:
        one.sendall(b"hello")
        while one.recv(100):
            pass
        ended.set()

    with listening(until_end) as port, relaying(("127.0.0.1", port)) as (relay, _):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one:
            read_all(one, 5)
        assert ended.wait(5)

    def one_answer(one: socket.socket) -> None:
        one.recv(100)
        one.sendall(b"x" * 200_000)
        one.recv(100)

    with (
        listening(one_answer) as port,
        relaying(("127.0.0.1", port)) as (relay, _),
        socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one,
    ):
        one.sendall(b"a")
        read_all(one, 200_000)
        one.sendall(b"b")  # the session stands; now the server ends it in good order
        assert one.recv(100) == b""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


def as_a_supernode(keys: Path, port: int) -> httpx.Response:
    verify = str(keys / "stations" / "clips" / "ca.crt")
    with httpx.Client(verify=verify, timeout=30.0, trust_env=False) as client:
        return client.post(f"https://127.0.0.1:{port}/v1/fleet/pull-messages", content=b"body")


def test_tls_passes_through_to_the_gateway_s_certificate(keys: Path) -> None:
    upstream = Upstream()
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits()) as port,
        relaying(("localhost", port)) as (relay, _),
    ):
        assert as_a_supernode(keys, relay.port).content == b"done"
        others = keys.parent / "others"
        make_keys(others, Wanted(stations=["clips"]))
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            as_a_supernode(others, relay.port)
    assert [seen.size for seen in upstream.seen] == [4]


def say_nothing(one: socket.socket) -> None:
    while one.recv(1 << 16):
        pass


def hang_up_in_the_handshake(one: socket.socket) -> None:
    one.recv(1 << 16)
    one.sendall(b"\x16\x03\x03")


@pytest.mark.parametrize(
    "handle",
    [lambda one: None, hang_up_in_the_handshake, say_nothing],
    ids=["hangs up", "hangs up in the handshake", "says nothing"],
)
def test_no_broken_handshake_makes_a_supernode_give_up(
    keys: Path, handle: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "HANDSHAKE_SECONDS", 0.5)
    with listening(handle) as port:
        # What the SuperNode would meet without the relay, where that differs.
        if handle is hang_up_in_the_handshake:
            with pytest.raises(httpx.TransportError) as without:
                as_a_supernode(keys, port)
            assert any(word in str(without.value).lower() for word in FATAL)
        with relaying(("127.0.0.1", port)) as (relay, _):
            with pytest.raises(httpx.TransportError) as found:
                as_a_supernode(keys, relay.port)
            assert not any(word in str(found.value).lower() for word in FATAL), found.value


def test_a_gateway_that_is_away_and_comes_back(keys: Path) -> None:
    (port,) = free_ports(1)
    with relaying(("localhost", port)) as (relay, told):
        for _ in range(2):
            with pytest.raises(httpx.TransportError) as found:
                as_a_supernode(keys, relay.port)
            assert not any(word in str(found.value).lower() for word in FATAL), found.value
        # Told once, and its tries are signs of life without an answer.
        assert len(told) == 1
        assert relay.last_sent is not None
        assert relay.last_answer is None
        with (
            contextlib.closing(socket.create_server(("127.0.0.1", port))) as server,
            socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one,
        ):
            server.settimeout(10)
            there = server.accept()[0]
            there.sendall(b"hello")
            read_all(one, 5)
            there.close()
        assert told[1:] == ["reachable"]


def test_a_name_that_nobody_knows_is_a_reason_to_try_again(keys: Path) -> None:
    with relaying(("gateway.invalid", 9443)) as (relay, told):
        with pytest.raises(httpx.TransportError) as found:
            as_a_supernode(keys, relay.port)
        assert not any(word in str(found.value).lower() for word in FATAL), found.value
        assert len(told) == 1


def test_the_handshake_s_own_context_is_the_clients(keys: Path) -> None:
    """Wrong server name: the relay has no say in what the client checks."""
    upstream = Upstream()
    context = ssl.create_default_context(cafile=str(keys / "gateway" / "ca.crt"))
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits()) as port,
        relaying(("127.0.0.1", port)) as (relay, _),
        socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one,
        pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"),
    ):
        context.wrap_socket(one, server_hostname="elsewhere")
