"""The relay between a SuperNode and its gateway: bytes untouched, times noted, ends understood."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from gateway_cases import Upstream, gateway_in_thread, serving, upstream_config
from tls_servers import certificate_file, tcp_server, tls_server
from tunnel import flower_key

from common.plant.gateway.nginx_terms import Limits
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.revoking import revoke_station
from common.plant.station import relay as relay_module
from common.plant.station.gateway_tls import GatewayTls
from common.plant.station.relay import Relay
from common.runs.processes import free_ports

FATAL = ("certificate", "ssl", "tls")
"""In the text of an error, what makes a SuperNode give up (flwr.supercore.retry.http_retry)."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


@contextlib.contextmanager
def relaying(
    keys: Path, address: tuple[str, int], ca: Path | None = None
) -> Iterator[tuple[Relay, list[str]]]:
    """Run a relay of the station clips in a thread; the list takes what it tells."""
    told: list[str] = []
    tls = GatewayTls(ca or keys / "ca.crt", keys / "stations" / "clips" / "station.pem")
    relay = Relay(address, tls, told.append, lambda: told.append("reachable"))
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


def listening(
    keys: Path, handle: Callable[[socket.socket], None]
) -> contextlib.AbstractContextManager[int]:
    """In the gateway's place: a server that gives each station's connection to `handle`."""
    return tls_server(keys / "gateway" / "gateway.crt", handle, keys)


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


def test_bytes_pass_unchanged_in_both_directions(keys: Path) -> None:
    sent = os.urandom(5_000_000)
    with (
        listening(keys, echo) as port,
        relaying(keys, ("127.0.0.1", port)) as (relay, told),
        socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one,
    ):
        threading.Thread(target=one.sendall, args=(sent,)).start()
        assert read_all(one, len(sent)) == sent
        assert told == []


def test_the_times_of_the_last_words_are_noted(keys: Path) -> None:
    with listening(keys, echo) as port, relaying(keys, ("127.0.0.1", port)) as (relay, _):
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


def test_an_end_on_either_side_ends_the_other(keys: Path) -> None:
    ended = threading.Event()

    def until_end(one: socket.socket) -> None:
        one.sendall(b"hello")
        while one.recv(100):
            pass
        ended.set()

    with listening(keys, until_end) as port, relaying(keys, ("127.0.0.1", port)) as (relay, _):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one:
            read_all(one, 5)
        assert ended.wait(5)

    def one_answer(one: socket.socket) -> None:
        one.recv(100)
        one.sendall(b"x" * 200_000)
        one.recv(100)

    with (
        listening(keys, one_answer) as port,
        relaying(keys, ("127.0.0.1", port)) as (relay, _),
        socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one,
    ):
        one.sendall(b"a")
        read_all(one, 200_000)
        one.sendall(b"b")  # the session stands; now the server ends it in good order
        assert one.recv(100) == b""


def as_a_supernode(keys: Path, port: int) -> httpx.Response:
    verify = str(keys / "stations" / "clips" / "ca.crt")
    own = {"flwr-public-key": flower_key(keys, "clips").decode()}
    with httpx.Client(verify=verify, timeout=30.0, trust_env=False, headers=own) as client:
        return client.post(f"https://127.0.0.1:{port}/v1/fleet/pull-messages", content=b"body")


def test_a_supernode_s_tls_passes_through_within_the_station_s(keys: Path) -> None:
    upstream = Upstream()
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink) as port,
        relaying(keys, ("localhost", port)) as (relay, _),
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


@pytest.mark.parametrize("outer", [True, False], ids=["within", "outside"])
@pytest.mark.parametrize(
    "handle",
    [lambda one: None, hang_up_in_the_handshake, say_nothing],
    ids=["hangs up", "hangs up in the handshake", "says nothing"],
)
def test_no_broken_handshake_makes_a_supernode_give_up(
    keys: Path,
    handle: Callable[[socket.socket], None],
    outer: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "HANDSHAKE_SECONDS", 0.5)
    monkeypatch.setattr(relay_module, "CONNECT_SECONDS", 2.0)
    with tcp_server(handle) as port:
        # What the SuperNode would meet without the relay, where that differs.
        if handle is hang_up_in_the_handshake:
            with pytest.raises(httpx.TransportError) as without:
                as_a_supernode(keys, port)
            assert any(word in str(without.value).lower() for word in FATAL)
    server = listening(keys, handle) if outer else tcp_server(handle)
    with server as port, relaying(keys, ("127.0.0.1", port)) as (relay, _):
        with pytest.raises(httpx.TransportError) as found:
            as_a_supernode(keys, relay.port)
        assert not any(word in str(found.value).lower() for word in FATAL), found.value


def refused(keys: Path, port: int, host: str = "127.0.0.1", ca: Path | None = None) -> str:
    """What a station's log has of a gateway that does not take it, and its SuperNode goes on."""
    with relaying(keys, (host, port), ca) as (relay, told):
        for _ in range(2):
            with pytest.raises(httpx.TransportError) as found:
                as_a_supernode(keys, relay.port)
            assert not any(word in str(found.value).lower() for word in FATAL), found.value
        assert relay.last_answer is None
    (line,) = told  # once, however often it is tried
    return line


@pytest.fixture
def plant(keys: Path, tmp_path: Path) -> Path:
    """Keys that a test may change."""
    return Path(shutil.copytree(keys, tmp_path / "keys"))


RIGHT_AFTER = "it ended the connection right after the handshake"


def test_a_certificate_that_is_revoked(plant: Path, tmp_path: Path) -> None:
    kept = Path(shutil.copytree(plant / "stations", tmp_path / "kept"))
    make_keys(plant, Wanted(stations=["other"]))
    revoke_station(plant, "clips")
    shutil.copytree(kept, plant / "stations", dirs_exist_ok=True)
    shutil.copy(kept / "clips/station.pub", plant / "server/stations/clips.pub")
    with gateway_in_thread(plant, 9) as port:
        line = refused(plant, port)
    assert line.startswith(RIGHT_AFTER)
    assert "missing, revoked or expired, or where the revocation list expired" in line


def test_a_station_that_the_gateway_does_not_know(plant: Path) -> None:
    make_keys(plant, Wanted(stations=["other"]))
    (plant / "gateway/stations/clips.pub").unlink()
    with gateway_in_thread(plant, 9) as port:
        assert refused(plant, port).startswith(RIGHT_AFTER)


@pytest.mark.parametrize(
    ("days_ago", "days", "said"),
    [(10.0, 1, "this station's certificate expired on 20"), (-1.0, 30, "is this clock right?")],
)
def test_a_certificate_out_of_its_time(days_ago: float, days: int, said: str, plant: Path) -> None:
    (plant / "stations/clips/station.pem").unlink()
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=days_ago)
    make_keys(plant, Wanted(stations=["clips"], days=days), then)
    with gateway_in_thread(plant, 9) as port:
        assert said in refused(plant, port)


def test_another_authority(keys: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    make_keys(others, Wanted(stations=["clips"]))
    with gateway_in_thread(keys, 9) as port:
        line = refused(keys, port, ca=others / "ca.crt")
    assert line.startswith("the gateway's certificate was refused: it was not signed by the")


def test_another_name(keys: Path, tmp_path: Path) -> None:
    certificate = certificate_file(tmp_path, ["elsewhere"], keys)
    with tls_server(certificate, say_nothing) as port:
        line = refused(keys, port)
    assert line == "the gateway's certificate was refused: it is not for 127.0.0.1"


def test_a_gateway_s_certificate_that_has_expired(keys: Path, tmp_path: Path) -> None:
    ago = dt.timedelta(days=-30)
    certificate = certificate_file(tmp_path, ["127.0.0.1"], keys, ago, 1)
    with tls_server(certificate, say_nothing) as port:
        line = refused(keys, port)
    assert "certificate has expired; or this machine's clock is wrong" in line


def test_what_is_no_gateway(keys: Path) -> None:
    def speak_plainly(one: socket.socket) -> None:
        one.sendall(b"220 mail.example.org ESMTP\r\n")
        one.recv(1 << 16)

    with tcp_server(speak_plainly) as port:
        assert refused(keys, port).startswith("what listens at server.address does not speak TLS")


def test_too_many_connections_of_one_address(keys: Path) -> None:
    with (
        gateway_in_thread(keys, 9, Limits(per_address=1)) as port,
        socket.create_connection(("127.0.0.1", port)),
    ):
        time.sleep(0.2)
        assert "it has too many from this address" in refused(keys, port)


def test_a_file_that_was_lost(plant: Path) -> None:
    (plant / "stations/clips/station.pem").write_text("nothing")
    line = refused(plant, 9)
    assert line.startswith(f"server.certificate {plant / 'stations/clips/station.pem'}: cannot be")


def test_a_renewed_certificate_is_shown_without_a_restart(plant: Path) -> None:
    own = plant / "stations/clips/station.pem"
    kept, upstream = own.read_bytes(), Upstream()
    own.write_text("nothing")
    with (
        serving(upstream_config(plant, upstream)) as superlink,
        gateway_in_thread(plant, superlink) as port,
        relaying(plant, ("localhost", port)) as (relay, told),
    ):
        with pytest.raises(httpx.TransportError):
            as_a_supernode(plant, relay.port)
        own.write_bytes(kept)
        assert as_a_supernode(plant, relay.port).content == b"done"
        assert told[1:] == ["reachable"]


def test_a_gateway_that_is_away_and_comes_back(keys: Path) -> None:
    (port,) = free_ports(1)
    with relaying(keys, ("localhost", port)) as (relay, told):
        for _ in range(2):
            with pytest.raises(httpx.TransportError) as found:
                as_a_supernode(keys, relay.port)
            assert not any(word in str(found.value).lower() for word in FATAL), found.value
        # Told once, and its tries are signs of life without an answer.
        assert len(told) == 1
        assert relay.last_sent is not None
        assert relay.last_answer is None
        upstream = Upstream()
        with (
            serving(upstream_config(keys, upstream)) as superlink,
            gateway_in_thread(keys, superlink, port=port),
        ):
            assert as_a_supernode(keys, relay.port).content == b"done"
        assert told[1:] == ["reachable"]


def test_a_name_that_nobody_knows_is_a_reason_to_try_again(keys: Path) -> None:
    with relaying(keys, ("gateway.invalid", 9443)) as (relay, told):
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
        gateway_in_thread(keys, superlink) as port,
        relaying(keys, ("127.0.0.1", port)) as (relay, _),
        socket.create_connection(("127.0.0.1", relay.port), timeout=20) as one,
        pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"),
    ):
        context.wrap_socket(one, server_hostname="elsewhere")
