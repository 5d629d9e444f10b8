"""A SuperNode's TLS inside the station's own, as the relay carries it, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from common.plant.keys.station_keys import read_public_key, sent_key

PIECE = 1 << 16


KEY = b"@KEY@"
"""In a request, where the Flower key of the station stands that sends it."""


class Tunnel:
    """The inner of two TLS connections, with the few methods of a socket that tests use."""

    key = KEY

    def __init__(
        self, outer: socket.socket, context: ssl.SSLContext, name: str | None = None
    ) -> None:
        """Shake hands: as a client that wants this name, or as a server."""
        self.outer = outer
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._coming, self._going, server_side=name is None, server_hostname=name
        )
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._take()
            except ssl.SSLError:
                self._flush()  # the alert that tells why
                raise
        self._flush()

    def settimeout(self, seconds: float) -> None:
        self.outer.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data.replace(KEY, self.key) if data.startswith(b"POST") else data)
        for begin in range(0, len(view), PIECE):
            self._tls.write(view[begin : begin + PIECE])
            self._flush()

    def recv(self, size: int) -> bytes:
        """Some bytes; none where the other side has ended, in good order or not."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                if not self._take():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def _flush(self) -> None:
        while going := self._going.read(PIECE):
            self.outer.sendall(going)

    def _take(self) -> bool:
        coming = self.outer.recv(PIECE)
        if not coming and not self._tls.version():
            raise ConnectionResetError("the gateway ended the connection within its handshake")
        self._coming.write(coming) if coming else self._coming.write_eof()
        return bool(coming)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.outer.close()


def outer_context(keys: Path, station: str | None) -> ssl.SSLContext:
    """Trust the plant's authority, and show this station's certificate."""
    context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    if station is not None:
        context.load_cert_chain(keys / "stations" / station / "station.pem")
    return context


@contextlib.contextmanager
def through(
    keys: Path,
    port: int,
    station: str | None = "clips",
    name: str = "127.0.0.1",
    source: str = "127.0.0.1",
    seconds: float = 30.0,
) -> Iterator[Tunnel]:
    """A connection to a gateway as a station has it, both of its certificates checked."""
    inner = ssl.create_default_context(cafile=str(keys / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", port), seconds, (source, 0)) as plain,
        outer_context(keys, station).wrap_socket(plain, server_hostname=name) as outer,
    ):
        tunnel = Tunnel(outer, inner, "127.0.0.1")
        if station is not None:
            tunnel.key = flower_key(keys, station)
        yield tunnel


def flower_key(keys: Path, station: str) -> bytes:
    """A station's Flower key as its SuperNode sends it."""
    return sent_key(read_public_key(keys / "server" / "stations" / f"{station}.pub")).encode()
