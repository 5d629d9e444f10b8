"""TLS inside TLS, as the relay and the SuperNode speak it together: for a few short requests."""

from __future__ import annotations

import ssl
import time
from typing import Final

_PIECE: Final = 16 * 1024


class Refused(Exception):
    """The other side ended the connection before it said anything."""


class InnerTls:
    """The inner one of two TLS connections, until a moment in time.

    Parameters
    ----------
    outer : SSLSocket
        Which it does not close.
    context : SSLContext
    name : str
        That the certificate within must carry.
    until : float
        Of `time.monotonic()`: no later does anything here return.

    Raises
    ------
    Refused
        If the connection ends before the first byte.
    OSError
        `ssl.SSLError` if the handshake fails, `TimeoutError` if it takes too long.
    """

    def __init__(
        self, outer: ssl.SSLSocket, context: ssl.SSLContext, name: str, until: float
    ) -> None:
        self._outer, self._until = outer, until
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_hostname=name)
        self._heard = False
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._take()
            else:
                break
        self._flush()

    def send(self, content: bytes) -> None:
        """Send all of it."""
        self._tls.write(content)
        self._flush()

    def receive(self) -> bytes:
        """Some bytes; none where the other side has ended."""
        while True:
            try:
                return self._tls.read(_PIECE)
            except ssl.SSLWantReadError:
                self._take()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def _flush(self) -> None:
        while going := self._going.read(_PIECE):
            self._limit()
            self._outer.sendall(going)

    def _take(self) -> None:
        self._limit()
        try:
            coming = self._outer.recv(_PIECE)
        except (ConnectionError, ssl.SSLError) as error:
            if self._heard or isinstance(error, TimeoutError):
                raise
            raise Refused from error
        if coming:
            self._heard = True
            self._coming.write(coming)
        elif self._heard:
            self._coming.write_eof()
        else:
            raise Refused

    def _limit(self) -> None:
        self._outer.settimeout(max(0.01, self._until - time.monotonic()))
