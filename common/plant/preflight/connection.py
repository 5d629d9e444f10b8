"""Reaching the gateway step by step, so that the step which fails can be named.

Nothing here imports flwr: a station is checked before any of its processes starts.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from common.plant.preflight.inner_tls import InnerTls, Refused

INNER_NAME: Final = "127.0.0.1"
"""By which a SuperNode reaches the gateway, through the relay on its own machine."""
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
    asked, answered : datetime
        This machine's clock when the request was sent, and when the answer was there.
    """

    status: int
    headers: dict[str, str]
    text: str
    asked: dt.datetime
    answered: dt.datetime

    @property
    def ahead(self) -> float | None:
        """Seconds that this machine's clock is ahead of the answerer's, to about a second.

        None if the answer has no date. A date has whole seconds, so half of one is added; of the
        time between question and answer, half is taken for the way there.
        """
        try:
            theirs = email.utils.parsedate_to_datetime(self.headers.get("date", ""))
        except ValueError:
            return None
        if theirs.tzinfo is None:
            return None
        ours = self.asked + (self.answered - self.asked) / 2
        return (ours - theirs).total_seconds() - 0.5


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
    """Requests to one gateway, each over a connection of its own.

    Parameters
    ----------
    addresses : list of (str, int)
        From `resolve`.
    host : str
        The name that its certificate must carry.
    context : SSLContext
        Says whom to trust and what to show.
    seconds : float
        Longest wait of any one step.
    inner : SSLContext, optional
        Of the SuperNode's own TLS inside, which is for 127.0.0.1; without it there is none.
    """

    def __init__(
        self,
        addresses: list[_Address],
        host: str,
        context: ssl.SSLContext,
        seconds: float = SECONDS,
        inner: ssl.SSLContext | None = None,
    ) -> None:
        self._addresses, self._host = addresses, host
        self._context, self._seconds, self._inner = context, seconds, inner

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

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send one request and read its answer.

        Parameters
        ----------
        method, path : str
        headers : mapping of str to str, optional
            Besides those that every request has.
        body : bytes, optional

        Returns
        -------
        Answer

        Raises
        ------
        Unreachable
            As `open`; step `certificate`: it ended the connection after the handshake, which is how
            a station's certificate is refused; step `http`: no HTTP is spoken there, or not in
            time.
        ssl.SSLCertVerificationError
        """
        until = time.monotonic() + self._seconds
        place = f"[{self._host}]" if ":" in self._host else self._host
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n"
            f"User-Agent: fedpatchcore-check\r\nContent-Length: {len(body)}\r\n"
        )
        request += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        received, asked = b"", dt.datetime.now(dt.UTC)
        with self.open() as tls:
            try:
                talk = self._talk(tls, until)
                asked = dt.datetime.now(dt.UTC)
                talk.send(request.encode("ascii") + b"\r\n" + body)
                while len(received) < _MOST_BYTES:
                    piece = talk.receive()
                    if not piece:
                        break
                    received += piece
                    if _is_whole(received):
                        break
            except Refused:
                text = "connected, but it ended the connection right after the handshake"
                raise Unreachable("certificate", text) from None
            except ssl.SSLCertVerificationError:
                raise
            except TimeoutError:
                text = f"{method} {path} had no whole answer in {self._seconds:g} s"
                raise Unreachable("http", text) from None
            except OSError as error:
                if not received:
                    text = f"{method} {path} was cut off ({error.strerror or error})"
                    raise Unreachable("http", text) from error
        return _parse(received, f"{method} {path}", asked)

    def _talk(self, tls: ssl.SSLSocket, until: float) -> InnerTls | _Plain:
        if self._inner is None:
            return _Plain(tls, until)
        try:
            return InnerTls(tls, self._inner, INNER_NAME, until)
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            text = (
                "no second TLS is spoken within the station's: the SuperLink itself, or a gateway "
                f"of an older version ({error.reason or error})"
            )
            raise Unreachable("http", text) from error


class _Plain:
    """A connection with no other one inside."""

    def __init__(self, tls: ssl.SSLSocket, until: float) -> None:
        self._tls, self._until = tls, until

    def send(self, content: bytes) -> None:
        self._limit()
        self._tls.sendall(content)

    def receive(self) -> bytes:
        self._limit()
        return self._tls.recv(4096)

    def _limit(self) -> None:
        self._tls.settimeout(max(0.01, self._until - time.monotonic()))


def trusting(ca: Path, certificate: Path | None = None) -> ssl.SSLContext:
    """Context that trusts the plant's authority and nobody else, and shows a certificate.

    Raises
    ------
    OSError
        If a file cannot be read or holds none (`ssl.SSLError` is one).
    """
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, password="")
    return context


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


def _parse(received: bytes, request: str, asked: dt.datetime) -> Answer:
    answered = dt.datetime.now(dt.UTC)
    if not received:
        raise Unreachable("http", f"{request} had no answer, the connection was closed")
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise Unreachable("http", f"{request} was not answered by HTTP ({first[:60]!r})")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    text = body[:2000].decode("utf-8", "replace")
    return Answer(int(words[1]), headers, text, asked, answered)


def _shown(address: _Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
