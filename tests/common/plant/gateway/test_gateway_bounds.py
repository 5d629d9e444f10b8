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
from processes import wait_for
from tunnel import outer_context

from common.plant.gateway import gateway as gateway_module
from common.plant.gateway.nginx_terms import Limits
from common.plant.keys.making import Wanted, make_keys

PULL = "/v1/fleet/pull-messages"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


def until_the_end(there: object) -> bytes:
    """What still comes; a connection may end in good order or not."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        return there.recv(100)  # type: ignore[attr-defined, no-any-return]
    return b""


def test_a_superlink_that_hangs_is_a_reason_to_try_again(keys: Path, upstream: Upstream) -> None:
    upstream.mode = "hang"
    told: list[str] = []
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(answer=0.5), told=told) as port,
    ):
        begun = time.monotonic()
        assert exchange(keys, port, post(PULL)) == (504, b"The SuperLink took too long.\n")
        assert time.monotonic() - begun < 2.5
        wait_for("a line", lambda: told, 10)
    assert f"the SuperLink localhost:{superlink} fails: upstream timed out" in told[0]
    assert f"(POST {PULL} of clips from 127.0.0.1); stations are told to try again" in told[0]


def test_a_station_that_does_not_send_on_is_cut_off(keys: Path, upstream: Upstream) -> None:
    """Which its SuperNode takes as a reason to try again."""
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(pause=0.5)) as port,
    ):
        with connected(keys, port) as there:
            begun = time.monotonic()
            there.sendall(post(PULL, b"1234567890")[:-6])
            assert until_the_end(there) == b""
            assert 0.3 < time.monotonic() - begun < 5
        assert exchange(keys, port, post(PULL))[0] == 200


def test_a_station_that_goes_away_leaves_the_gateway_well(keys: Path, upstream: Upstream) -> None:
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink) as port,
    ):
        for _ in range(5):
            with connected(keys, port) as there:
                there.sendall(post(PULL, b"123456789")[:-8])
        assert exchange(keys, port, post(PULL))[0] == 200
        assert [seen.size for seen in upstream.seen if seen.size == 9] == []


def test_headers_that_never_end_and_silence_are_cut_off(keys: Path, upstream: Upstream) -> None:
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(header=0.5, keep=0.5)) as port,
    ):
        for beginning in (b"", b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost:"):
            with connected(keys, port) as there:
                begun = time.monotonic()
                there.sendall(beginning)
                assert until_the_end(there) == b""
                assert 0.3 < time.monotonic() - begun < 5
        # One that works is not cut, however long it takes.
        upstream.mode = "hang"
        assert exchange(keys, port, post(PULL))[0] == 200


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "begun"])
def test_a_handshake_that_never_ends_is_cut_off(
    beginning: bytes, keys: Path, upstream: Upstream
) -> None:
    told: list[str] = []
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(handshake=0.5), told=told) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
    ):
        begun = time.monotonic()
        plain.sendall(beginning)
        assert until_the_end(plain) == b""
        assert 0.3 < time.monotonic() - begun < 5
        wait_for("a line", lambda: told, 10)
    assert told == ["cut a connection from 127.0.0.1: no TLS handshake within 0.5 s"]


def test_within_the_stations_own_tls_silence_is_cut_off_too(keys: Path, upstream: Upstream) -> None:
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(header=0.5)) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        outer_context(keys, "clips").wrap_socket(plain, server_hostname="127.0.0.1") as outer,
    ):
        begun = time.monotonic()
        assert until_the_end(outer) == b""
        assert 0.3 < time.monotonic() - begun < 5


def test_one_address_holds_so_many_connections(keys: Path, upstream: Upstream) -> None:
    """Counted before a handshake: who says nothing at all is counted too."""
    told: list[str] = []
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(per_address=3), told=told) as port,
    ):
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            time.sleep(0.2)
            fourth = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            assert until_the_end(fourth) == b""
        wait_for("a line", lambda: told, 10)
        assert told[0] == "refused a connection from 127.0.0.1: it has too many"

        def again() -> bool:
            with contextlib.suppress(OSError):
                return exchange(keys, port, post(PULL))[0] == 200
            return False

        wait_for("room again", again, 60)  # the three have ended


def test_one_station_holds_so_many_connections(keys: Path, upstream: Upstream) -> None:
    """Counted after the handshake, whichever addresses they come from."""
    told: list[str] = []
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(per_station=3), told=told) as port,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(3):
            one = stack.enter_context(connected(keys, port))
            one.sendall(post(PULL))
            assert read_answer(one)[0] == 200
        with pytest.raises(ConnectionError), connected(keys, port):
            pass
        wait_for("a line", lambda: told, 10)
        assert told == ["refused a connection of station clips: it has 3 already"]
        one.sendall(post(PULL))
        assert read_answer(one)[0] == 200


def test_one_station_makes_so_many_calls_a_second(keys: Path, upstream: Upstream) -> None:
    told: list[str] = []
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(calls=2), told=told) as port,
        connected(keys, port) as there,
    ):
        answers = []
        for _ in range(30):
            there.sendall(post(PULL))
            answers.append(read_answer(there)[0])
        # Four times as many at once; then its SuperNode is told to try again later.
        assert answers[:8] == [200] * 8
        assert 503 in answers
        assert set(answers) == {200, 503}
        wait_for("a line", lambda: told, 10)
    words = f"told to wait (503): POST {PULL} of clips from 127.0.0.1: more than 2 calls a second"
    assert told[0] == words


def test_only_the_superlink_of_this_plant_is_spoken_to(
    keys: Path, tmp_path: Path, upstream: Upstream
) -> None:
    others, told = tmp_path / "others", list[str]()
    make_keys(others, Wanted(stations=["clips"]))
    # Another authority's certificate for the same name.
    with (
        serving(upstream_config(others, upstream)) as superlink,
        gateway_in_thread(keys, superlink, told=told) as port,
    ):
        assert exchange(keys, port, post(PULL))[0] == 502
        wait_for("a line", lambda: told, 10)
    assert upstream.seen == []
    assert "fails: upstream SSL certificate verify error" in told[0]


def test_the_superlink_is_known_by_its_name(
    keys: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server of this plant, but dialled by a name that is not on its certificate."""
    monkeypatch.setattr(gateway_module, "certified_name", lambda host: "elsewhere")
    told: list[str] = []
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, told=told) as port,
    ):
        assert exchange(keys, port, post(PULL))[0] == 502
        wait_for("a line", lambda: told, 10)
    assert upstream.seen == []
    assert 'fails: upstream SSL certificate does not match "elsewhere"' in told[0]


def test_a_superlink_whose_name_nobody_knows_is_tried_again(keys: Path, upstream: Upstream) -> None:
    told: list[str] = []
    with gateway_in_thread(keys, 9443, host="superlink.invalid", told=told) as port:
        assert exchange(keys, port, post(PULL)) == (502, b"The SuperLink cannot be reached.\n")
        wait_for("a line", lambda: told, 10)
    assert "fails: the name 'superlink.invalid' cannot be resolved" in told[0]


def test_plain_http_gets_no_answer(keys: Path, upstream: Upstream) -> None:
    told: list[str] = []
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, told=told) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
    ):
        plain.sendall(post(PULL))
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in plain.recv(4096)
        wait_for("a line", lambda: told, 10)
    assert upstream.seen == []
    assert told == ["refused a connection from 127.0.0.1: no TLS 1.3 handshake"]


def test_an_older_tls_gets_no_answer(keys: Path, upstream: Upstream) -> None:
    context = outer_context(keys, "clips")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        pytest.raises(OSError, match=r"alert|EOF|reset"),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
