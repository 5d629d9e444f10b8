"""Intrusions, each by a real request: tokens, roles, other sites, host names, sizes, slowness."""

from __future__ import annotations

import datetime as dt
import io
import socket
import ssl
import stat
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from line_service import PARTS, Running, post, running
from PIL import Image

from common.errors import InputError
from common.line.service.access import Tokens
from common.line.service.bounds import Bounds
from common.line.service.server import Address, bind, check_address
from common.plant.keys.certificates import certificate_pem, new_private_key, private_pem
from common.plant.keys.signing import make_authority, make_server_certificate

REVIEW = {"verdict": "good", "by": "Ann"}


def raw(port: int, *pieces: bytes, pause: float = 0.0, wait: float = 10.0) -> bytes:
    """Send bytes as they are, and read what comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as own:
        answer = b""
        try:
            for piece in pieces:
                own.sendall(piece)
                time.sleep(pause)
            while block := own.recv(65536):
                answer += block
        except ConnectionError:
            pass
        return answer


@pytest.fixture(scope="module")
def guarded(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with a token of each role."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(saved, folder / "journal", Bounds(body_seconds=0.6)) as one:
        yield one


@pytest.fixture(scope="module")
def tokens(guarded: Running) -> dict[str, str]:
    return {role: guarded.tokens.add(role) for role in ("line", "operator", "engineer")}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_nobody_gets_in_without_a_token(guarded: Running, tokens: dict[str, str]) -> None:
    with guarded.client() as client:
        for given in (
            {},
            bearer("x"),
            bearer("Bearer"),
            {"authorization": f"Basic {tokens['line']}"},
        ):
            for path in (PARTS, "/api/v1/status", "/api/v1/events", "/metrics", "/nowhere"):
                answer = client.get(path, headers=given)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/health").status_code == 200


def test_each_role_does_its_own(
    guarded: Running, tokens: dict[str, str], pictures: list[Path]
) -> None:
    with guarded.client() as client:
        client.headers = httpx.Headers(bearer(tokens["line"]))
        id = post(client, pictures[0]).json()["id"]
        found = {}
        for role, token in tokens.items():
            client.headers = httpx.Headers(bearer(token))
            review = client.post(f"{PARTS}/{id}/review", json=REVIEW)
            switch = client.post("/api/v1/models/x/activate", json={"by": "a", "why": "b"})
            found[role] = (review.status_code, switch.status_code)
    # The engineer's is looked at: this service has a folder, without versions.
    assert found == {"line": (403, 403), "operator": (200, 403), "engineer": (200, 404)}


def test_tokens_are_kept_hashed_for_one_reader(guarded: Running, tokens: dict[str, str]) -> None:
    text = guarded.tokens.path.read_text()
    assert stat.S_IMODE(guarded.tokens.path.stat().st_mode) == 0o600
    assert not any(token in text for token in tokens.values())
    guarded.tokens.path.chmod(0o640)
    with pytest.raises(InputError, match="others may read it"):
        Tokens(guarded.tokens.path.parent).any()
    guarded.tokens.path.chmod(0o600)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_cannot_review(
    plain: Running, pictures: list[Path], headers: dict[str, str]
) -> None:
    with plain.client() as client:
        id = post(client, pictures[0]).json()["id"]
        answer = client.post(f"{PARTS}/{id}/review", json=REVIEW, headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
        text = client.post(
            f"{PARTS}/{id}/review",
            content=b'{"verdict": "good", "by": "A"}',
            headers={"content-type": "text/plain"},
        )
        assert text.status_code == 415
        assert client.get(f"{PARTS}/{id}").json()["review"] is None
        own = client.post(
            f"{PARTS}/{id}/review",
            json=REVIEW,
            headers={"origin": plain.url, "sec-fetch-site": "same-origin"},
        )
        assert own.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "", "0"])
def test_a_foreign_host_name_is_refused(plain: Running, host: str) -> None:
    with plain.client() as client:
        answer = client.get("/api/v1/status", headers={"host": host.format(port=plain.port)})
    assert answer.status_code == 421
    two = raw(
        plain.port,
        f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{plain.port}\r\nHost: evil\r\n\r\n".encode(),
    )
    assert two.split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "part",
    ["../../etc/passwd", "a/b", "a\\b", "<script>alert(1)</script>", "a&b", "x\ny", "a" * 201, "."],
)
def test_a_part_name_is_no_path_and_no_markup(
    plain: Running, pictures: list[Path], part: str
) -> None:
    with plain.client() as client:
        answer = post(client, pictures[0], part=part)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("part ")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_path_in_a_file_name_stays_a_name(plain: Running, pictures: list[Path]) -> None:
    content = pictures[0].read_bytes()
    with plain.client() as client:
        for name in ("../../up.png", "C:\\up.png", "/etc/up.png"):
            answer = client.post(
                PARTS, files={"image": (name, content)}, data={"category": "plate"}
            )
            assert answer.json()["path"] == "up.png"


def test_a_gigabyte_is_refused_before_it_is_read(guarded: Running, tokens: dict[str, str]) -> None:
    head = (
        f"POST {PARTS} HTTP/1.1\r\nHost: 127.0.0.1:{guarded.port}\r\n"
        f"Authorization: Bearer {tokens['line']}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
    )
    began = time.monotonic()
    answer = raw(guarded.port, f"{head}Content-Length: 1000000000\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 5


def test_a_gigabyte_without_a_length_is_cut_off(saved: Path, tmp_path: Path) -> None:
    sent = 0

    def stream() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(1000):
            sent += 1_000_000
            yield bytes(1_000_000)

    with running(saved, tmp_path / "journal", Bounds(upload_bytes=2_000_000)) as one:
        with one.client() as client:
            kind = {"content-type": "multipart/form-data; boundary=x"}
            try:
                status = client.post(PARTS, content=stream(), headers=kind).status_code
            except httpx.TransportError:
                status = 413  # it was cut off while it was sending
        assert status == 413
        assert sent < 50_000_000
        assert list(one.service.journal.entries()) == []


def test_a_decompression_bomb_is_not_decoded(plain: Running) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    for side, status in ((8000, 413), (60_000, 422)):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        bomb += chunk(b"IDAT", zlib.compress(bytes(1_000_000))) + chunk(b"IEND", b"")
        with plain.client() as client:
            answer = client.post(
                PARTS, files={"image": ("bomb.png", bomb)}, data={"category": "plate"}
            )
        assert answer.status_code == status
        assert "pixels" in answer.json()["error"]


def test_a_large_json_and_a_broken_one(plain: Running) -> None:
    with plain.client() as client:
        kind = {"content-type": "application/json"}
        large = client.post(f"{PARTS}/1/review", content=bytes(70_000), headers=kind)
        assert large.status_code == 413
        deep = client.post(f"{PARTS}/1/review", content=b"[" * 60_000, headers=kind)
        assert deep.status_code in (400, 422)


def test_slow_headers_and_slow_bodies_are_cut_off(guarded: Running, tokens: dict[str, str]) -> None:
    head = (
        f"POST {PARTS} HTTP/1.1\r\nHost: 127.0.0.1:{guarded.port}\r\n"
        f"Authorization: Bearer {tokens['line']}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100\r\n\r\n"
    ).encode()
    began = time.monotonic()
    assert raw(guarded.port, head, b"--x\r\n").startswith(b"HTTP/1.1 408")
    assert raw(guarded.port) == b""  # says nothing at all
    assert raw(guarded.port, head[:30]) == b""
    assert raw(guarded.port, *(bytes([one]) for one in head[:30]), pause=0.05) == b""
    assert time.monotonic() - began < 9


def test_other_fields_and_two_images_are_refused(plain: Running, pictures: list[Path]) -> None:
    content = pictures[0].read_bytes()
    with plain.client() as client:
        two = [("image", ("a.png", content)), ("image", ("b.png", content))]
        assert client.post(PARTS, files=two, data={"category": "plate"}).status_code in (400, 422)
        more = post(client, pictures[0], model="other")
        assert more.status_code == 422
        assert post(client, pictures[0], category="x" * 5000).status_code in (400, 422)


def test_an_open_address_takes_tls_and_tokens(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "journal")
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(InputError, match="takes TLS"):
            check_address(Address(host), tokens)
    certificate, key = certified(tmp_path, "line.example", "127.0.0.1")
    with pytest.raises(InputError, match="holds no token"):
        check_address(Address("0.0.0.0", 0, certificate, key), tokens)
    with pytest.raises(InputError, match="give both"):
        check_address(Address("0.0.0.0", 0, certificate), tokens)
    with pytest.raises(InputError, match="expected one of line, operator, engineer"):
        tokens.add("admin")
    tokens.add("line")
    check_address(Address("0.0.0.0", 0, certificate, key), tokens)
    with pytest.raises(InputError, match="cannot be used for TLS"):
        check_address(Address("0.0.0.0", 0, certificate, certificate), tokens)


def certified(folder: Path, *names: str) -> tuple[Path, Path]:
    """Certificate and key of a service, as the plant's authority makes them."""
    now, signer, own = dt.datetime.now(dt.UTC), new_private_key(), new_private_key()
    authority = make_authority(signer, now)
    made = make_server_certificate(names, own, authority, signer, now)
    (folder / "ca.crt").write_bytes(certificate_pem(authority))
    (folder / "line.crt").write_bytes(certificate_pem(made))
    (folder / "line.key").write_bytes(private_pem(own))
    (folder / "line.key").chmod(0o600)
    return folder / "line.crt", folder / "line.key"


def test_tls_with_the_plants_certificate(saved: Path, pictures: list[Path], tmp_path: Path) -> None:
    certificate, key = certified(tmp_path, "line.example", "127.0.0.1")
    token = Tokens(tmp_path / "journal").add("line")
    address = Address("127.0.0.1", 0, certificate, key)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    with running(saved, tmp_path / "journal", address=address) as one:
        assert one.url.startswith("https://")
        with one.client(verify=context, headers=bearer(token)) as client:
            assert post(client, pictures[1]).json()["anomalous"] is True
            foreign = client.get("/api/v1/status", headers={"host": f"localhost:{one.port}"})
            assert foreign.status_code == 421  # no name of the certificate's
            named = client.get("/api/v1/status", headers={"host": f"line.example:{one.port}"})
            assert named.status_code == 200
        with pytest.raises(httpx.ConnectError), one.client() as client:
            client.get("/health")


def test_a_port_that_is_taken_is_told_in_a_line(plain: Running) -> None:
    with pytest.raises(InputError, match="give another --port"):
        bind(Address(port=plain.port))


def test_a_picture_in_a_huge_frame_is_measured_first(saved: Path, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (200, 100)).save(file, "PNG")
    bounds = Bounds(pixels=19_999)
    with running(saved, tmp_path / "journal", bounds) as one, one.client() as client:
        form = {"image": ("a.png", file.getvalue())}
        answer = client.post(PARTS, files=form, data={"category": "plate"})
    assert answer.status_code == 413
    assert "200 x 100" in answer.json()["error"]
