"""The way to the server: each way in which it can fail is met for real and named."""

from __future__ import annotations

import datetime as dt
import email.utils
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from gateway_cases import Upstream, gateway_in_thread, serving, upstream_config
from tls_servers import answer, certificate_file, gateway_server, http, tcp_server

from common.plant.keys.certificates import read_certificate
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.station_keys import fingerprint, private_openssh, read_station_key
from common.plant.preflight.credentials import (
    check_app_key,
    check_authority,
    check_certificate,
    check_key,
)
from common.plant.preflight.findings import Preflight
from common.plant.preflight.server import check_gateway
from common.plant.station.station_file import StationFile, read_station_file

SECONDS = 5.0
LOCAL = ("localhost", "127.0.0.1")
CONTROL, FLEET = "POST /v1/control/preflight", "POST /v1/fleet/preflight"
ACTIVATE = "POST /v1/fleet/activate-node"
KNOWN = '{"code": 2003, "detail": "no such interval"}'
"""What Flower says to a station whose key it knows, as `tests/integration` has it from there."""
SOUND = {
    "GET /health": answer(200, "gateway\n"),
    CONTROL: answer(403),
    ACTIVATE: answer(400, KNOWN),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(root, Wanted(stations=("clips",)))
    return root


@pytest.fixture
def home(tmp_path: Path, keys: Path) -> Path:
    """A station's folder, as it was copied there."""
    shutil.copytree(keys / "stations/clips", tmp_path / "clips")
    return tmp_path / "clips"


def station(home: Path, address: str) -> StationFile:
    text = 'station = "clips"\ndata-root = "data"\ncache-dir = "cache"\n[server]\n'
    text += f'address = "{address}"\nca = "ca.crt"\nkey = "station.key"\n'
    text += 'certificate = "station.pem"\napp-key = "app.pub"\n'
    (home / "station.toml").write_text(text)
    return read_station_file(home)


def looked(
    home: Path, address: str, seconds: float = SECONDS, now: dt.datetime | None = None
) -> Preflight:
    report = Preflight(home, "clips")
    check_gateway(station(home, address), report, now or dt.datetime.now(dt.UTC), seconds)
    return report


def kinds(report: Preflight) -> list[str]:
    return [finding.kind for finding in report.findings]


# The gateway itself


@pytest.fixture
def upstream(keys: Path) -> Iterator[tuple[Upstream, int]]:
    app = Upstream()
    with serving(upstream_config(keys, app)) as port:
        yield app, port


@pytest.mark.parametrize("host", LOCAL)
def test_a_sound_gateway(home: Path, keys: Path, upstream: tuple[Upstream, int], host: str) -> None:
    app, port = upstream
    app.answer = (400, [], KNOWN.encode())
    with gateway_in_thread(keys, port) as gateway:
        report = looked(home, f"{host}:{gateway}")
    assert report.findings == []
    assert report.facts["server"].startswith(f"{host}:{gateway} (127.0.0.1), TLSv1.3, certificate ")
    assert "for gateway, localhost, 127.0.0.1 until 20" in report.facts["server"]
    expected = "of fedpatchcore; the SuperLink behind it answers, the rest is refused"
    assert report.facts["gateway"] == expected
    # The control API was asked for at the gateway, and got no further.
    assert [(seen.method, seen.path) for seen in app.seen] == [
        ("POST", b"/v1/fleet/preflight"),
        ("POST", b"/v1/fleet/activate-node"),
    ]


def test_a_gateway_without_a_superlink(home: Path, keys: Path) -> None:
    with gateway_in_thread(keys, 9) as gateway:
        report = looked(home, f"localhost:{gateway}")
    assert kinds(report) == ["superlink-down"]
    assert "answered 502: The SuperLink cannot be reached." in report.findings[0].found


def test_the_superlink_itself_is_no_gateway(
    home: Path, keys: Path, upstream: tuple[Upstream, int]
) -> None:
    app, port = upstream
    app.answer = (404, [], b"")
    report = looked(home, f"localhost:{port}")
    assert kinds(report) == ["not-a-gateway"]
    assert "no second TLS is spoken within the station's" in report.findings[0].found


def test_a_gateway_that_passes_everything_on(home: Path, keys: Path) -> None:
    with gateway_server(keys, http({**SOUND, CONTROL: answer(404)})) as port:
        report = looked(home, f"localhost:{port}")
    assert kinds(report) == ["not-a-gateway"]
    assert "answered 404 to a call of the control API, expected 403" in report.findings[0].found


def test_a_certificate_that_the_gateway_does_not_take(home: Path, keys: Path) -> None:
    """It ends the connection after the handshake: with TLS 1.3 nothing else is to be seen."""
    others = home.parent / "others"
    make_keys(others, Wanted(stations=("clips",)))
    shutil.copy(others / "stations/clips/station.pem", home / "station.pem")
    with gateway_in_thread(keys, 9) as gateway:
        report = looked(home, f"localhost:{gateway}")
    assert kinds(report) == ["certificate-refused"]
    assert "it ended the connection right after the handshake" in report.findings[0].found


def test_a_key_of_another_station(home: Path, keys: Path, upstream: tuple[Upstream, int]) -> None:
    other = private_openssh(ec.generate_private_key(ec.SECP384R1()))
    (home / "station.key").write_bytes(other)
    app, port = upstream
    with gateway_in_thread(keys, port) as gateway:
        report = looked(home, f"localhost:{gateway}")
    assert kinds(report) == ["key-of-another"]
    assert app.seen == []


@pytest.mark.parametrize(
    ("fleet", "expected"),
    [(404, []), (401, []), (403, ["not-a-gateway"]), (500, ["not-a-gateway"])]
    + [(status, ["superlink-down"]) for status in (502, 503, 504)],
)
def test_another_reverse_proxy(home: Path, keys: Path, fleet: int, expected: list[str]) -> None:
    answers = {**SOUND, "GET /health": answer(403), FLEET: answer(fleet)}
    with gateway_server(keys, http(answers)) as port:
        report = looked(home, f"localhost:{port}")
    assert kinds(report) == expected
    assert ("another reverse proxy" in report.facts.get("gateway", "")) == (not expected)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (b"220 mail.example ESMTP\r\n\r\n", "was not answered by HTTP ('220 mail.example ESMTP')"),
        (b"", "GET /health had no answer, the connection was closed"),
    ],
)
def test_something_that_speaks_no_http(home: Path, keys: Path, says: bytes, expected: str) -> None:
    def talk(there: socket.socket) -> None:
        there.recv(4096)
        there.sendall(says)

    with gateway_server(keys, talk) as port:
        report = looked(home, f"localhost:{port}")
    assert kinds(report) == ["not-a-gateway"]
    assert expected in report.findings[0].found


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((-3600, "clock"), (-240, "clock"), (-6, "clock")),
        *((-3.6, "clock-drifts"), (0, None), (100, None), (200, "clock-drifts")),
        *((301, "clock"), (3600, "clock")),
    ],
)
def test_a_clock_that_is_off(home: Path, keys: Path, seconds: float, expected: str | None) -> None:
    """Wrongly passed: a clock 6 s ahead, which the server refuses, as it does 240 s."""

    def talk(there: socket.socket) -> None:
        theirs = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
        date = email.utils.format_datetime(theirs, usegmt=True)
        http({**SOUND, FLEET: answer(404, "", Date=date)})(there)

    with gateway_server(keys, talk) as port:
        report = looked(home, f"localhost:{port}")
    assert kinds(report) == ([expected] if expected else [])
    if expected:
        way = "behind" if seconds > 0 else "ahead of"
        found = report.findings[0].found
        assert f" s {way} that of localhost:" in found
        assert abs(int(found.split()[4]) - abs(seconds)) < 3


@pytest.mark.parametrize("date", ["Tue, 24 Nov 2026 02:00:00", "today", ""])
def test_a_date_that_cannot_be_read_says_nothing(home: Path, keys: Path, date: str) -> None:
    answers = {**SOUND, FLEET: answer(404, "", Date=date)}
    with gateway_server(keys, http(answers)) as port:
        assert looked(home, f"localhost:{port}").findings == []


# The way there


def test_a_name_that_is_not_known(home: Path) -> None:
    report = looked(home, "no-such-host.invalid:9443", seconds=3)
    assert kinds(report) == ["name-not-resolved"]
    assert "the name 'no-such-host.invalid' " in report.findings[0].found


def test_nobody_listens(home: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        report = looked(home, f"127.0.0.1:{port}")
    assert kinds(report) == ["connection-refused"]
    assert f"127.0.0.1:{port} refused the connection" in report.findings[0].found


def test_nobody_answers(home: Path) -> None:
    # A listener whose queue is full: Linux drops what comes then, as a firewall does.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        report = looked(home, f"127.0.0.1:{port}", seconds=0.5)
        took = time.monotonic() - started
        for one in waiting:
            one.close()
    assert kinds(report) == ["no-answer"]
    assert 0.4 < took < 3


def test_plain_http_is_no_tls(home: Path) -> None:
    with tcp_server(lambda there: there.sendall(answer(400))) as port:
        report = looked(home, f"localhost:{port}")
    assert kinds(report) == ["no-tls"]
    assert "no TLS is spoken there" in report.findings[0].found


def test_one_that_hangs_up(home: Path) -> None:
    with tcp_server(lambda there: None) as port:
        assert kinds(looked(home, f"localhost:{port}")) == ["no-tls"]


def test_one_that_says_nothing(home: Path) -> None:
    with tcp_server(lambda there: there.recv(10_000) and there.recv(1)) as port:
        started = time.monotonic()
        report = looked(home, f"localhost:{port}", seconds=0.5)
        assert time.monotonic() - started < 3
    assert kinds(report) == ["no-tls"]
    assert "no TLS handshake in 0.5 s" in report.findings[0].found


def test_one_that_answers_drop_by_drop(home: Path, keys: Path) -> None:
    def drip(there: socket.socket) -> None:
        there.sendall(b"HTTP/1.1 200 ok\r\n")
        while True:
            there.sendall(b"x")
            time.sleep(0.1)

    with gateway_server(keys, drip) as port:
        started = time.monotonic()
        report = looked(home, f"localhost:{port}", seconds=1)
        assert time.monotonic() - started < 5
    assert kinds(report) == ["not-a-gateway"]
    assert "GET /health had no whole answer in 1 s" in report.findings[0].found


# The certificate


def refused(home: Path, certificate: Path, host: str = "localhost") -> Preflight:
    with gateway_server(None, http(SOUND), certificate) as port:
        return looked(home, f"{host}:{port}")


def test_an_expired_certificate(home: Path, keys: Path, tmp_path: Path) -> None:
    odd = certificate_file(tmp_path, LOCAL, keys, dt.timedelta(days=-9), days=8)
    report = refused(home, odd)
    assert kinds(report) == ["certificate-expired"]
    assert " expired on 20" in report.findings[0].found
    assert "this machine's clock says 20" in report.findings[0].found


def test_a_certificate_of_tomorrow(home: Path, keys: Path, tmp_path: Path) -> None:
    report = refused(home, certificate_file(tmp_path, LOCAL, keys, dt.timedelta(days=1)))
    assert kinds(report) == ["certificate-not-yet-valid"]
    assert "clock is far behind" in report.findings[0].why


def test_a_certificate_that_ends_soon(home: Path, keys: Path, tmp_path: Path) -> None:
    report = refused(home, certificate_file(tmp_path, LOCAL, keys, days=10))
    assert kinds(report) == ["certificate-ending"]
    assert "expires in 10 days" in report.findings[0].found


def test_another_plants_certificate(home: Path, tmp_path: Path) -> None:
    report = refused(home, certificate_file(tmp_path, LOCAL))
    assert kinds(report) == ["wrong-ca"]
    assert report.findings[0].found.count("'fedpatchcore plant ") == 2


@pytest.mark.parametrize(
    ("names", "host"),
    [(("other.example", "127.0.0.1"), "localhost"), (("localhost",), "127.0.0.1")],
)
def test_a_certificate_for_another_name(
    home: Path, keys: Path, tmp_path: Path, names: tuple[str, ...], host: str
) -> None:
    report = refused(home, certificate_file(tmp_path, names, keys), host)
    assert kinds(report) == ["wrong-name"]
    assert f"has a certificate for {', '.join(names)}; expected {host}" in report.findings[0].found


def test_all_that_is_wrong_with_a_certificate_is_said_at_once(
    home: Path, keys: Path, tmp_path: Path
) -> None:
    odd = certificate_file(tmp_path, ("other.example",), keys, dt.timedelta(days=-9), days=8)
    assert kinds(refused(home, odd)) == ["certificate-expired", "wrong-name"]
    stranger = certificate_file(tmp_path, ("other.example",), None, dt.timedelta(days=-9), days=8)
    expected = ["certificate-expired", "wrong-name", "wrong-ca"]
    assert kinds(refused(home, stranger)) == expected


def test_a_certificate_that_the_relay_cannot_use(home: Path, keys: Path, tmp_path: Path) -> None:
    report = refused(home, certificate_file(tmp_path, ("localhost",), keys))
    assert kinds(report) == ["no-relay-name"]


def test_the_authoritys_own_end(home: Path) -> None:
    report = Preflight(home, "clips")
    file = station(home, "localhost:1")
    now = dt.datetime.now(dt.UTC)
    assert check_authority(file, report, now)
    assert report.findings == []
    assert report.facts["authority"].startswith("fedpatchcore plant ")
    for days, expected in ((3600, "certificate-ending"), (3651, "certificate-expired")):
        report = Preflight(home, "clips")
        assert check_authority(file, report, now + dt.timedelta(days=days))
        assert kinds(report) == [expected]
        assert "the authority's certificate expire" in report.findings[0].found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("station.key", "is no PEM certificate"),
        ("gateway.crt", "a certificate, but not an authority's"),
    ],
)
def test_a_file_that_is_no_authority(
    home: Path, keys: Path, source: str | None, expected: str
) -> None:
    (home / "ca.crt").unlink()
    if source:
        folder = keys / "gateway" if source.startswith("gateway") else home
        shutil.copy(folder / source, home / "ca.crt")
    report = Preflight(home, "clips")
    assert not check_authority(station(home, "localhost:1"), report, dt.datetime.now(dt.UTC))
    assert kinds(report) == ["ca-file"]
    assert expected in report.findings[0].found


# What the server says of the key


@pytest.mark.parametrize(
    ("status", "text", "expected", "words"),
    [
        (400, '{"code": 2004, "detail": "x"}', "not-registered", "does not know this key"),
        (401, '{"detail": "x"}', "key-refused", "refused what this key signed (401)"),
        (403, "", "key-of-another", "refused this key with station.pem (403)"),
        (200, "", "registration-unknown", "answered 200"),
        (404, "[]", "registration-unknown", "answered 404 ([])"),
        (400, '{"code": "2003"}', "registration-unknown", "answered 400"),
    ],
)
def test_a_key_that_the_server_does_not_take(
    home: Path, keys: Path, status: int, text: str, expected: str, words: str
) -> None:
    """Wrongly passed: a key that nobody had registered showed only when the station started."""
    answers = {**SOUND, ACTIVATE: answer(status, text)}
    with gateway_server(keys, http(answers)) as port:
        report = looked(home, f"localhost:{port}")
    assert kinds(report) == [expected]
    assert words in report.findings[0].found
    assert "registered" not in report.facts


# The certificate and the app's key


def judged_certificate(home: Path, now: dt.datetime | None = None) -> Preflight:
    report = Preflight(home, "clips")
    check_certificate(station(home, "localhost:1"), report, now or dt.datetime.now(dt.UTC))
    return report


def test_a_sound_certificate(home: Path) -> None:
    report = judged_certificate(home)
    ends = read_certificate(home / "station.pem").not_valid_after_utc
    assert (report.findings, report.facts) == ([], {"certificate": f"clips, until {ends:%Y-%m-%d}"})


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        *((-1, "certificate-not-yet-valid"), (825 - 61, None)),
        *((825 - 60, "station-certificate-ending"), (825, "station-certificate-expired")),
    ],
)
def test_a_certificate_at_another_time(home: Path, days: int, expected: str | None) -> None:
    made = read_certificate(home / "station.pem").not_valid_before_utc + dt.timedelta(hours=1)
    report = judged_certificate(home, made + dt.timedelta(days=days))
    assert kinds(report) == ([expected] if expected else [])


def test_a_certificate_that_others_can_read(home: Path) -> None:
    (home / "station.pem").chmod(0o640)
    assert kinds(judged_certificate(home)) == ["key-open-to-others"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("stations/clips/station.key", "is no PEM certificate"),
        ("stations/clips/ca.crt", "is no PEM private key"),
        ("other", "the certificate of 'other'; this station is 'clips'"),
        ("mixed", "was not made for the key in the same file"),
    ],
)
def test_what_is_no_certificate_of_this_station(
    home: Path, tmp_path: Path, source: str | None, expected: str
) -> None:
    root = tmp_path / "keys"
    make_keys(root, Wanted(stations=("clips", "other")))
    own, other = (root / "stations" / name / "station.pem" for name in ("clips", "other"))
    mark = b"-----BEGIN CERTIFICATE-----"
    mixed = own.read_bytes().split(mark)[0] + mark + other.read_bytes().split(mark)[1]
    path = home / "station.pem"
    if source is None:
        path.unlink()
    elif source in ("other", "mixed"):
        path.write_bytes(other.read_bytes() if source == "other" else mixed)
    else:
        path.write_bytes((root / source).read_bytes())
    found = judged_certificate(home).findings
    assert {finding.kind for finding in found} == {"station-certificate"}
    assert any(expected in finding.found for finding in found)


def test_the_apps_key_at_a_station(home: Path) -> None:
    report = Preflight(home, "clips")
    check_app_key(station(home, "localhost:1"), report)
    assert report.findings == []
    shutil.copy(home / "station.pub", home / "app.pub")
    check_app_key(station(home, "localhost:1"), report)
    assert kinds(report) == ["app-key"]


# The key


def judged_key(home: Path) -> Preflight:
    report = Preflight(home, "clips")
    check_key(station(home, "localhost:1"), report)
    return report


def test_a_sound_key(home: Path) -> None:
    report = judged_key(home)
    own = fingerprint(read_station_key(home / "station.key").public_key())
    assert (report.findings, report.facts) == ([], {"key": f"secp384r1 {own}"})


def test_a_key_that_others_can_read(home: Path) -> None:
    (home / "station.key").chmod(0o640)
    report = judged_key(home)
    assert kinds(report) == ["key-open-to-others"]
    assert report.findings[0].found == "mode 640, expected 600"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user(home: Path) -> None:
    os.chown(home / "station.key", 12345, -1)
    report = judged_key(home)
    assert kinds(report) == ["other-user"]
    assert "belongs to user 12345, this check ran as 0" in report.findings[0].found


def test_keys_that_a_supernode_does_not_take(home: Path, keys: Path) -> None:
    for source in (keys / "gateway/gateway.key", home / "station.pub", None):
        (home / "station.key").unlink()
        if source:
            shutil.copy(source, home / "station.key")
        assert kinds(judged_key(home)) == ["station-key"]
        (home / "station.key").touch()
    other = ec.generate_private_key(ec.SECP256R1())
    (home / "station.key").write_bytes(private_openssh(other))
    (home / "station.key").chmod(0o600)
    assert judged_key(home).findings == []


def test_nothing_of_flower_is_loaded() -> None:
    code = (
        "import sys, common.plant.preflight.station_check\n"
        "print(any(m.startswith('flwr') for m in sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert said.stdout == "False\n"
