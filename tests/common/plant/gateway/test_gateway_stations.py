"""Who gets in: certificates, each bound to its Flower key, and changes of the key folder."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_cases import (
    Upstream,
    connected,
    exchange,
    gateway_in_thread,
    is_told,
    post,
    read_answer,
    serving,
    upstream_config,
)
from processes import wait_for
from tunnel import Tunnel, flower_key, outer_context, through

from common.plant.gateway import gateway as gateway_module
from common.plant.gateway.nginx_terms import Limits
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.revoking import revoke_station

PULL = "/v1/fleet/pull-messages"
STATIONS = ["clips", "Clips", "a.b", "axb"]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=STATIONS))
    return folder


@pytest.fixture
def keys(plant: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(plant, tmp_path / "keys"))


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def port(
    keys: Path, upstream: Upstream, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[int]:
    """A gateway that looks at its keys every tenth of a second."""
    monkeypatch.setattr(gateway_module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(gateway_module._LOG, "info", lambda text, *of: told.append(text % of))
    monkeypatch.setattr(gateway_module._LOG, "warning", lambda text, *of: told.append(text % of))
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink, Limits(drain=1.0), told=told) as port,
    ):
        yield port


def gets_in(keys: Path, port: int, station: str = "clips") -> bool:
    with contextlib.suppress(OSError):
        return exchange(keys, port, post(PULL), station=station)[0] == 200
    return False


def test_every_station_gets_in_with_its_own_key_alone(
    keys: Path, port: int, upstream: Upstream, told: list[str]
) -> None:
    """Capitals count, and a dot is no other letter."""
    for station in STATIONS:
        assert exchange(keys, port, post(PULL), station=station) == (200, b"done")
        assert upstream.seen[-1].headers[b"flwr-public-key"] == flower_key(keys, station)
    for station in STATIONS:
        for other in STATIONS:
            if other != station:
                theirs = post(PULL, flwr_public_key=flower_key(keys, other).decode())
                status, text = exchange(keys, port, theirs, station=station)
                assert (status, text) == (
                    403,
                    b"This Flower key is not that of the certificate.\n",
                )
    assert len(upstream.seen) == len(STATIONS)
    words = ("refused with 403 for a Flower key of another", "of Clips from 127.0.0.1")
    is_told(told, *words)


@pytest.mark.parametrize("key", ["", "x", "@KEY@x", " "])
def test_no_other_key_gets_in(key: str, keys: Path, port: int, upstream: Upstream) -> None:
    assert exchange(keys, port, post(PULL, flwr_public_key=key))[0] == 403
    assert upstream.seen == []


def test_of_two_keys_none_slips_through(keys: Path, port: int, upstream: Upstream) -> None:
    """What is passed on is what was looked at."""
    other = flower_key(keys, "a.b")
    request = post(PULL).replace(b"\r\n\r\n", b"\r\nflwr-public-key: " + other + b"\r\n\r\n")
    status, _ = exchange(keys, port, request)
    assert status in (200, 400, 403)
    assert all(
        seen.headers[b"flwr-public-key"] == flower_key(keys, "clips") for seen in upstream.seen
    )


def refused(keys: Path, port: int, station: str | None) -> bool:
    """The handshake is through for this end, with TLS 1.3; then the connection ends."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        outer_context(keys, station).wrap_socket(plain, server_hostname="127.0.0.1") as outer,
    ):
        try:
            return outer.recv(100) == b""
        except ConnectionError:
            return True


def test_who_has_no_certificate_does_not_get_past_the_handshake(
    keys: Path, port: int, upstream: Upstream, told: list[str]
) -> None:
    assert refused(keys, port, None)
    assert upstream.seen == []
    is_told(told, "refused a connection from 127.0.0.1: it showed no certificate")


def test_a_certificate_of_another_plant_is_refused(
    keys: Path, port: int, tmp_path: Path, upstream: Upstream, told: list[str]
) -> None:
    others = tmp_path / "others"
    make_keys(others, Wanted(stations=["clips"]))
    shutil.copy(keys / "ca.crt", others / "ca.crt")  # which it trusts all the same
    assert refused(others, port, "clips")
    assert upstream.seen == []
    is_told(told, "its certificate is by another authority", "(CN=clips)")


@pytest.mark.parametrize("server", ["gateway", "superlink"])
def test_a_server_s_certificate_is_no_station_s(
    server: str, keys: Path, port: int, upstream: Upstream, told: list[str]
) -> None:
    """Who has stolen one is no station with it."""
    home = keys / ("gateway" if server == "gateway" else "server")
    own = keys / "stations" / "clips" / "station.pem"
    own.write_bytes((home / f"{server}.key").read_bytes() + (home / f"{server}.crt").read_bytes())
    assert refused(keys, port, "clips")
    assert upstream.seen == []
    is_told(told, "its certificate is no station's")


def test_a_certificate_that_has_expired_is_refused(
    keys: Path, port: int, tmp_path: Path, told: list[str]
) -> None:
    clips = keys / "stations" / "clips" / "station.pem"
    clips.unlink()
    make_keys(
        keys, Wanted(stations=["clips"], days=1), dt.datetime.now(dt.UTC) - dt.timedelta(days=1.5)
    )
    assert refused(keys, port, "clips")
    is_told(told, "its certificate has expired")


def test_a_station_that_is_revoked_is_cut_off_in_the_middle(
    keys: Path, port: int, upstream: Upstream, told: list[str]
) -> None:
    with connected(keys, port) as there, connected(keys, port, "a.b") as other:
        for one in (there, other):
            one.sendall(post(PULL))
            assert read_answer(one)[0] == 200
        shutil.copytree(keys / "stations", keys / "kept")
        begun = time.monotonic()
        revoke_station(keys, "clips")
        is_told(told, "taken over: 3 stations; gone clips; earlier connections end within 1 s")
        with contextlib.suppress(OSError):
            while there.recv(100):
                pass
        # Seen within two looks, and the drain of a second.
        assert time.monotonic() - begun < 5
    shutil.copytree(keys / "kept", keys / "stations", dirs_exist_ok=True)
    words = "its certificate is revoked (CN=clips)"

    def refused_so() -> bool:
        # A worker that is about to end may still take a connection: cut without that reason.
        assert refused(keys, port, "clips")
        return any(words in line for line in told)

    wait_for("the refusal", refused_so, 20)
    assert gets_in(keys, port, "a.b")


def test_a_station_without_its_pub_is_nobody(keys: Path, port: int, told: list[str]) -> None:
    assert gets_in(keys, port)
    (keys / "gateway" / "stations" / "clips.pub").unlink()
    is_told(told, "taken over: 3 stations; gone clips")
    words = "its certificate names no station whose .pub is in stations/ (CN=clips)"

    def refused_so() -> bool:
        return not gets_in(keys, port) and any(words in line for line in told)

    wait_for("the refusal", refused_so, 20)
    assert gets_in(keys, port, "Clips")


def test_a_new_station_gets_in_without_a_restart(keys: Path, port: int, told: list[str]) -> None:
    make_keys(keys, Wanted(stations=["paint"]))
    is_told(told, "taken over: 5 stations; new paint")
    wait_for("paint to get in", lambda: gets_in(keys, port, "paint"), 10)
    assert gets_in(keys, port)


def test_a_renewed_certificate_of_the_gateway_is_shown(
    keys: Path, port: int, told: list[str]
) -> None:
    def serial() -> str:
        with through(keys, port) as there:
            return str(there.outer.getpeercert()["serialNumber"])  # type: ignore[index]

    before = serial()
    make_keys(keys, Wanted(renew=True, gateway=["gateway"]))
    is_told(told, "taken over: 4 stations")
    wait_for("another certificate", lambda: serial() != before, 10)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("gateway.crt", b"no certificate", "cannot be used together"),
        ("gateway.key", None, "has no gateway.key"),
        ("revoked.pem", b"", "no revocation list"),
    ],
)
def test_what_cannot_be_used_leaves_the_state_before(
    name: str, content: bytes | None, why: str, keys: Path, port: int, told: list[str]
) -> None:
    path = keys / "gateway" / name
    kept = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    is_told(told, "the key folder has changed, and the state before goes on", why)
    assert gets_in(keys, port)
    path.write_bytes(kept)
    path.chmod(0o600)
    is_told(told, "taken over: 4 stations")
    wait_for("the gateway", lambda: gets_in(keys, port), 10)


def test_the_inner_certificate_is_the_gateway_s_too(keys: Path, port: int) -> None:
    """What the SuperNode itself checks, through the relay."""
    inner = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        outer_context(keys, "clips").wrap_socket(plain, server_hostname="127.0.0.1") as outer,
        pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"),
    ):
        Tunnel(outer, inner, "elsewhere")
