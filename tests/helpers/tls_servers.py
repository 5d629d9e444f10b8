"""Servers in a thread that behave, or do not: TLS with any certificate, plain TCP, silence."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tunnel import Tunnel

from common.plant.keys.certificates import (
    certificate_pem,
    new_private_key,
    private_pem,
    read_certificate,
    read_private_key,
)
from common.plant.keys.signing import make_authority, make_server_certificate

Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def tcp_server(talk: Talk) -> Iterator[int]:
    """Let `talk` have every connection, in a thread of its own; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def one(plain: socket.socket) -> None:
        plain.settimeout(10)
        with plain, contextlib.suppress(OSError):
            talk(plain)

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(plain,)))
            threads[-1].start()

    threads.append(threading.Thread(target=serve))
    threads[0].start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(15)
            assert not thread.is_alive()


@contextlib.contextmanager
def tls_server(certificate: Path, talk: Talk, stations: Path | None = None) -> Iterator[int]:
    """The same over TLS, with a certificate and the key beside it.

    With `stations`, a plant's key folder, only a client with a station's certificate gets in.
    """
    context = server_context(certificate)
    if stations is not None:
        for name in ("ca.crt", "stations-ca.crt"):
            context.load_verify_locations(stations / name)
        context.verify_mode = ssl.CERT_REQUIRED

    def shake_hands(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as tls:
            talk(tls)

    with tcp_server(shake_hands) as port:
        yield port


def gateway_server(
    keys: Path | None, talk: Talk, certificate: Path | None = None
) -> contextlib.AbstractContextManager[int]:
    """In a gateway's place: a station's TLS around another one, in which `talk` is spoken.

    Without `keys` it lets everybody in.
    """
    if certificate is None:
        assert keys is not None
        certificate = keys / "gateway" / "gateway.crt"
    inner = server_context(certificate)

    def within(tls: socket.socket) -> None:
        talk(Tunnel(tls, inner))  # type: ignore[arg-type]

    return tls_server(certificate, within, keys)


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


def certificate_file(
    folder: Path,
    names: Sequence[str],
    keys: Path | None = None,
    start: dt.timedelta = dt.timedelta(0),
    days: int = 825,
) -> Path:
    """A certificate, valid from `start` after now, by the plant's authority or a new one."""
    now = dt.datetime.now(dt.UTC) + start
    if keys is None:
        authority_key = new_private_key()
        authority = make_authority(authority_key, now)
    else:
        authority_key = read_private_key(keys / "ca.key")
        authority = read_certificate(keys / "ca.crt")
    key = new_private_key()
    path = folder / "odd.crt"
    made = make_server_certificate(names, key, authority, authority_key, now, days)
    path.write_bytes(certificate_pem(made))
    path.with_suffix(".key").write_bytes(private_pem(key))
    return path


def http(answers: dict[str, bytes]) -> Talk:
    """Answer each request by its first line, or 404."""

    def talk(there: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = there.recv(4096)
            if not piece:
                return
            request += piece
        first = request.split(b"\r\n")[0].decode("latin-1")
        there.sendall(answers.get(first.rpartition(" ")[0], answer(404)))

    return talk


def answer(status: int, text: str = "", **headers: str) -> bytes:
    body = text.encode()
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
