"""The gateway's deadlines and limits, with short times, and whom it trusts as the SuperLink."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from pathlib import Path

import pytest
from gateway_cases import (
    Upstream,
    connected,
    exchange,
    gateway_in_thread,
    post,
    read_answer,
    serving,
    upstream_config,
)

from common.plant.keys.making import Wanted, make_keys
from common.plant.server import gateway_server
from common.plant.server.gateway import Limits, _Failures

PULL = "/v1/fleet/pull-messages"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


def test_a_superlink_that_hangs_is_a_reason_to_try_again(keys: Path, upstream: Upstream) -> None:
    upstream.mode = "hang"
    limits = Limits(read=0.5)
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, limits) as port,
    ):
        begun = time.monotonic()
        assert exchange(keys, port, post(PULL)) == (504, b"The SuperLink took too long.\n")
        assert time.monotonic() - begun < 2.5


def test_a_whole_request_has_a_deadline(keys: Path, upstream: Upstream) -> None:
    upstream.mode = "hang"
    limits = Limits(request=0.5)
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, limits) as port,
    ):
        assert exchange(keys, port, post(PULL))[0] == 504


def test_a_station_that_does_not_send_on_is_told_to_try_again(
    keys: Path, upstream: Upstream
) -> None:
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(read=0.5)) as port,
    ):
        head = f"POST {PULL} HTTP/1.1\r\nhost: g\r\ncontent-length: 10\r\n\r\nhalf".encode()
        status, body = exchange(keys, port, head)
        assert (status, body) == (503, b"The request came too slowly; try again.\n")


def test_a_station_that_goes_away_leaves_the_gateway_well(keys: Path, upstream: Upstream) -> None:
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits()) as port,
    ):
        for _ in range(5):
            with connected(keys, port) as there:
                there.sendall(
                    f"POST {PULL} HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\nx".encode()
                )
        assert exchange(keys, port, post(PULL))[0] == 200
        assert [seen.size for seen in upstream.seen if seen.size == 9] == []


def test_headers_that_never_end_and_silence_are_cut_off(
    keys: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_server, "REQUEST_LINE_SECONDS", 0.5)
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits()) as port,
    ):
        for beginning in (b"", b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost:"):
            with connected(keys, port) as there:
                begun = time.monotonic()
                there.sendall(beginning)
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    assert there.recv(100) == b""
                assert 0.3 < time.monotonic() - begun < 5
        # One that works is not cut, however long it takes.
        upstream.mode = "hang"
        assert exchange(keys, port, post(PULL))[0] == 200


def test_one_address_holds_so_many_connections(
    keys: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_server, "CONNECTIONS_PER_ADDRESS", 3)
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits()) as port,
    ):
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(connected(keys, port)) for _ in range(3)]
            for one in held:
                one.sendall(post(PULL))
                assert read_answer(one)[0] == 200
            fourth = stack.enter_context(connected(keys, port))
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                fourth.sendall(post(PULL))
                assert fourth.recv(100) == b""
        until = time.monotonic() + 60
        while time.monotonic() < until:  # the three have ended: there is room again
            with contextlib.suppress(ConnectionError, ssl.SSLError, AssertionError):
                assert exchange(keys, port, post(PULL))[0] == 200
                break
        assert len(upstream.seen) == 4


def test_only_the_superlink_of_this_plant_is_spoken_to(
    keys: Path, tmp_path: Path, upstream: Upstream
) -> None:
    others = tmp_path / "others"
    make_keys(others, Wanted(stations=["clips"]))
    # Another authority's certificate for the same name, and a server without TLS.
    with (
        serving(upstream_config(others, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits()) as port,
    ):
        assert exchange(keys, port, post(PULL))[0] == 502
    assert upstream.seen == []


def test_plain_http_gets_no_answer(keys: Path, upstream: Upstream) -> None:
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits()) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
    ):
        plain.sendall(post(PULL))
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in plain.recv(4096)
    assert upstream.seen == []


def test_an_error_without_end_is_shown_at_last(keys: Path, upstream: Upstream) -> None:
    upstream.answer = (500, [], b"Internal Server Error")
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(patience=0.6)) as port,
    ):
        mine = post(PULL, flwr_public_key="mine")
        assert exchange(keys, port, mine)[0] == 503
        time.sleep(0.7)
        assert exchange(keys, port, post(PULL, flwr_public_key="theirs"))[0] == 503
        assert exchange(keys, port, mine) == (500, b"Internal Server Error")
        assert exchange(keys, port, mine)[0] == 503  # its next SuperNode begins anew


def test_failures_are_counted_from_the_last_success_and_bounded() -> None:
    failures = _Failures(patience=10)
    who = (b"key", b"/v1/fleet/pull-messages")
    assert failures.told_to_retry(who, 0.0)
    failures.forget(who)
    assert failures.told_to_retry(who, 9.0)
    assert failures.told_to_retry(who, 18.9)
    assert not failures.told_to_retry(who, 19.0)
    for number in range(3 * failures.CAPACITY):
        failures.told_to_retry((str(number).encode(), b"/"), 20.0)
    assert len(failures._since) == failures.CAPACITY
