"""The open port: one socket, HTTP/1.1, TLS where it is asked for, an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from cryptography import x509
from uvicorn.protocols.http.h11_impl import H11Protocol

from common.errors import InputError, explained
from common.line.service.access import HOST, LOOPBACK, OWN_ADDRESSES, PORT, Door, Tokens
from common.line.service.app import make_app
from common.line.service.bounds import Bounds
from common.line.service.gate import Gate
from common.line.service.service import Service

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_HEADER_BYTES: Final = 16_384
_KEEP_ALIVE: Final = 30
_LAST: Final = 20
"""Seconds that open connections have when the service ends."""


@dataclass(frozen=True)
class Address:
    """Where the service listens, and as whom.

    Attributes
    ----------
    host : str
        An address of this machine.
    port : int
    certificate, key : Path or None
        PEM; both or none.
    """

    host: str = HOST
    port: int = PORT
    certificate: Path | None = None
    key: Path | None = None

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.certificate is not None

    def names(self) -> list[str]:
        """Host names that it answers to: those of its certificate, or this machine's own.

        Raises
        ------
        InputError
            If the certificate cannot be read, or has expired.
        """
        if self.certificate is None:
            return list(LOOPBACK)
        try:
            own = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            told = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except OSError as error:
            raise InputError(explained(error)) from error
        except (ValueError, x509.ExtensionNotFound) as error:
            raise InputError(
                f"{self.certificate}: is no certificate with host names ({error}); make one with "
                "`fedpatchcore keys DIR --service NAME --host HOST`"
            ) from error
        if own.not_valid_after_utc <= datetime.now(UTC):
            raise InputError(
                f"{self.certificate}: expired on {own.not_valid_after_utc:%Y-%m-%d}, no line posts "
                "to it; renew it with `fedpatchcore keys DIR --renew --service NAME`"
            )
        addresses = told.get_values_for_type(x509.IPAddress)
        return [
            *told.get_values_for_type(x509.DNSName),
            *(f"[{one}]" if one.version == 6 else str(one) for one in addresses),
        ]


def check_address(address: Address, tokens: Tokens) -> None:
    """Refuse to listen where anybody could post, before anything is loaded.

    Raises
    ------
    InputError
        Without TLS or tokens on another address than this machine's own; if certificate and key
        cannot be used, or others can read the key.
    """
    if (address.certificate is None) != (address.key is None):
        raise InputError("--certificate and --certificate-key: give both or none")
    if not address.secure and address.host not in OWN_ADDRESSES:
        raise InputError(
            f"--host {address.host}: others can reach this address; that takes TLS, --certificate "
            "and --certificate-key, and tokens (--new-token ROLE)"
        )
    if address.secure:
        if not tokens.any():
            raise InputError(
                f"{tokens.path}: holds no token, and with TLS nobody is let in without one; make "
                "one with `fedpatchcore serve --new-token line` and the same --journal or "
                "station.toml"
            )
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                str(address.certificate), str(address.key), password=lambda: ""
            )
        except (OSError, ssl.SSLError, ValueError) as error:
            raise InputError(
                f"{address.certificate}, {address.key}: cannot be used for TLS ({error})"
            ) from error
        address.names()
        if address.key is not None and (mode := stat.S_IMODE(address.key.stat().st_mode)) & 0o077:
            raise InputError(
                f"{address.key}: others than its owner can read it (mode {mode:o}); mend with "
                f"`chmod 600 {address.key}`"
            )


def bind(address: Address) -> socket.socket:
    """Open the port.

    Raises
    ------
    InputError
        If it is taken, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    own = socket.socket(family, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((address.host, address.port))
        own.listen(64)
    except (OSError, OverflowError) as error:
        own.close()
        raise InputError(
            f"--host {address.host} --port {address.port}: cannot be listened on ({error}); stop "
            "what uses it, or give another --port"
        ) from error
    return own


def run_server(
    service: Service,
    address: Address,
    tokens: Tokens,
    own: socket.socket,
    ready: Callable[[str], object] = lambda url: None,
) -> None:
    """Answer requests until a signal comes; the service has ended then, and is not closed.

    Parameters
    ----------
    service : Service
    address : Address
    tokens : Tokens
    own : socket
        See `bind`; closed at the end.
    ready : callable (URL)
        Called once requests are answered.
    """
    port = int(own.getsockname()[1])
    door = Door(tokens, address.names(), port, address.secure)
    bounds = service.bounds
    app = Gate(make_app(service), service, door, bounds)
    config = uvicorn.Config(
        app,
        http=_bounded_protocol(bounds),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=bounds.connections,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        ssl_certfile=None if address.certificate is None else str(address.certificate),
        ssl_keyfile=None if address.key is None else str(address.key),
    )
    host = f"[{address.host}]" if ":" in address.host else address.host
    server = _Server(config, service, lambda: ready(f"{door.scheme}://{host}:{port}"))
    server.run([own])


class _Server(uvicorn.Server):
    """Ends on SIGTERM and SIGINT by itself, with exit code 0."""

    def __init__(
        self, config: uvicorn.Config, service: Service, ready: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._service, self._ready = service, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it listens."""
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: when the service does."""
        return await super().on_tick(counter) or self._service.ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what waits with 503 first, so that its connections can close."""
        self._service.end()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals without sending them again at the end."""

        def told(number: int, frame: FrameType | None) -> None:
            self._service.ending = True

        try:
            before = {one: signal.signal(one, told) for one in _SIGNALS}
        except ValueError:  # no main thread, as in a test
            yield
            return
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def _bounded_protocol(bounds: Bounds) -> type[asyncio.Protocol]:
    """HTTP/1.1 whose headers must arrive in time, too; uvicorn waits for them for ever."""

    class Bounded(H11Protocol):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._late = self.loop.call_later(bounds.body_seconds, self._look, None)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            done = self.cycle is None or self.cycle.response_complete
            if done and self._late is None and not self.transport.is_closing():
                self._late = self.loop.call_later(bounds.body_seconds, self._look, self.cycle)
            elif not done:
                self._forget()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _look(self, cycle: object) -> None:
            """Close a connection on which no new request has begun."""
            self._late = None
            if self.cycle is cycle:
                self.transport.close()

    return Bounded
