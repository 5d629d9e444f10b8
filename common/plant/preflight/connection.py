"""Reaching the gateway step by step, so that the step which fails can be named.

Nothing here imports flwr: a station is checked before any of its processes starts.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

SECONDS: Final = 10.0
"""Longest wait of any one step."""
_MOST_BYTES: Final = 64 * 1024
_Address = tuple[str, int]


class Unreachable(Exception):
    """A step failed.

    Attributes
    ----------
    step : str
        `name`, `refused`, `timeout`, `route`, `tls`, `certificate` or `http`.
    """

    def __init__(self, step: str, text: str) -> None:
        super().__init__(text)
        self.step = step


@dataclass(frozen=True)
class Answer:
    """What a server answered to one request.

    Attributes
    ----------
    status : int
    headers : dict of str to str
        Names in lower case.
    text : str
        Start of the body, as it came.
    """

    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True)
class Peer:
    """Who answered: its address, its TLS version and its certificate, which was verified."""

    address: str
    tls: str
    certificate: x509.Certificate


def resolve(host: str, port: int, seconds: float = SECONDS) -> list[_Address]:
    """Look a name up, within a deadline that the system's own look-up does not have.

    Raises
    ------
    Unreachable
        Step `name`.
    """
    results: queue.Queue[list[_Address] | OSError | UnicodeError] = queue.Queue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            results.put([(str(entry[4][0]), port) for entry in found])
        except (OSError, UnicodeError) as error:
            results.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        text = f"the name {host!r} was not resolved in {seconds:g} s"
        raise Unreachable("name", text) from None
    if isinstance(result, Exception):
        reason = getattr(result, "strerror", None) or result
        raise Unreachable("name", f"the name {host!r} cannot be resolved ({reason})")
    return list(dict.fromkeys(result))


def connect(addresses: list[_Address], seconds: float = SECONDS) -> socket.socket:
    """Open a TCP connection to the first address that takes it.

    Raises
    ------
    Unreachable
        Step `refused`, `timeout` or `route`: what the last address said.
    """
    until = time.monotonic() + seconds
    failure = Unreachable("timeout", f"no answer in {seconds:g} s")
    for address in addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection(address, timeout=left)
        except TimeoutError:
            failure = Unreachable("timeout", f"{_shown(address)}: no answer in {seconds:g} s")
        except ConnectionRefusedError:
            failure = Unreachable("refused", f"{_shown(address)} refused the connection")
        except OSError as error:
            failure = Unreachable("route", f"{_shown(address)}: {error.strerror or error}")
    raise failure


class Line:
    """Requests to one gateway, each over a TLS connection of its own.

    Parameters
    ----------
    addresses : list of (str, int)
        From `resolve`.
    host : str
        The name that its certificate must carry.
    context : SSLContext
        Says whom to trust.
    seconds : float
        Longest wait of any one step.
    """

    def __init__(
        self,
        addresses: list[_Address],
        host: str,
        context: ssl.SSLContext,
        seconds: float = SECONDS,
    ) -> None:
        self._addresses, self._host = addresses, host
        self._context, self._seconds = context, seconds

    def open(self) -> ssl.SSLSocket:
        """Connect and shake hands.

        Raises
        ------
        Unreachable
            From `connect`, and step `tls`: no TLS is spoken there.
        ssl.SSLCertVerificationError
            The certificate is not to be trusted.
        """
        plain = connect(self._addresses, self._seconds)
        plain.settimeout(self._seconds)
        try:
            return self._context.wrap_socket(plain, server_hostname=self._host)
        except ssl.SSLCertVerificationError:
            plain.close()
            raise
        except TimeoutError:
            plain.close()
            text = f"connected, but there was no TLS handshake in {self._seconds:g} s"
            raise Unreachable("tls", text) from None
        except OSError as error:
            plain.close()
            reason = getattr(error, "reason", None) or error.strerror or error
            raise Unreachable("tls", f"connected, but no TLS is spoken there ({reason})") from error

    def peer(self) -> Peer:
        """Who answers; raises as `open` does."""
        with self.open() as tls:
            der = tls.getpeercert(binary_form=True)
            assert der is not None  # a client always gets one
            address = str(tls.getpeername()[0])
            return Peer(address, tls.version() or "TLS", x509.load_der_x509_certificate(der))

    def ask(self, method: str, path: str) -> Answer:
        """Send one request without a body and read its answer.

        Raises
        ------
        Unreachable
            As `open`, and step `http`: no HTTP is spoken there, or not in time.
        ssl.SSLCertVerificationError
        """
        until = time.monotonic() + self._seconds
        place = f"[{self._host}]" if ":" in self._host else self._host
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n"
            "User-Agent: fedpatchcore-check\r\nContent-Length: 0\r\n\r\n"
        )
        received = b""
        with self.open() as tls:
            try:
                tls.settimeout(max(0.01, until - time.monotonic()))
                tls.sendall(request.encode("ascii"))
                while len(received) < _MOST_BYTES:
                    tls.settimeout(max(0.01, until - time.monotonic()))
                    piece = tls.recv(4096)
                    if not piece:
                        break
                    received += piece
                    if _is_whole(received):
                        break
            except TimeoutError:
                text = f"{method} {path} had no whole answer in {self._seconds:g} s"
                raise Unreachable("http", text) from None
            except OSError as error:
                if not received:
                    text = f"{method} {path} was cut off ({error.strerror or error})"
                    raise Unreachable("http", text) from error
        return _parse(received, f"{method} {path}")


def trusting(ca: Path) -> ssl.SSLContext:
    """Context that trusts the plant's authority and nobody else.

    Raises
    ------
    OSError
        If the file cannot be read or holds no certificate (`ssl.SSLError` is one).
    """
    return ssl.create_default_context(cafile=str(ca))


def unverified(addresses: list[_Address], host: str, seconds: float = SECONDS) -> Peer:
    """Fetch the certificate of a server that is not trusted, to say what is wrong with it.

    Raises
    ------
    Unreachable
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return Line(addresses, host, context, seconds).peer()


def _is_whole(received: bytes) -> bool:
    """Whether the body that the header announces is there."""
    head, end, body = received.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if end and name == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return False


def _parse(received: bytes, request: str) -> Answer:
    if not received:
        raise Unreachable("http", f"{request} had no answer, the connection was closed")
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise Unreachable("http", f"{request} was not answered by HTTP ({first[:60]!r})")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Answer(int(words[1]), headers, body[:2000].decode("utf-8", "replace"))


def _shown(address: _Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
