"""The gateway as a server: TLS, and bounds on connections, headers and idle time."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import socket
import ssl
import stat
from pathlib import Path
from typing import Any, Final

import uvicorn

from common.errors import InputError
from common.hooks.lookup import require
from common.hooks.table import HTTP_PROTOCOL
from common.plant.server.daemons import require_valid
from common.plant.server.gateway import Gateway, Limits
from common.system.ending import orderly

DEFAULT_PORT: Final = 9443
CONNECTIONS: Final = 500
CONNECTIONS_PER_ADDRESS: Final = 100
"""A SuperNode keeps about four; several stations may share one machine or one address."""
REQUEST_LINE_SECONDS: Final = 30.0
KEEP_ALIVE_SECONDS: Final = 30
"""Longer than the 5 s of a SuperNode's client, so that it is never closed under its hands."""
HEADER_BYTES: Final = 32 * 1024
END_SECONDS: Final = 5
_LOG: Final = logging.getLogger("fedpatchcore.gateway")
_H11Protocol: Any = require(HTTP_PROTOCOL)


def run_gateway(
    keys: Path,
    superlink: tuple[str, int],
    host: str,
    port: int,
    limits: Limits | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    keys : Path
        Folder with `ca.crt`, `gateway.crt` and `gateway.key`.
    superlink : (str, int)
        Host and port of the SuperLink; its certificate must be for this host.
    host, port : str, int
        Where stations reach this gateway; port 0 lets the machine choose one, which is logged.
    limits : Limits, optional

    Raises
    ------
    InputError
        If a file is missing or wrong, or the address cannot be used.
    """
    _check_files(keys)
    config = gateway_config(keys, Gateway(superlink, keys / "ca.crt", limits))
    listener = _listen(host, port)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    at = listener.getsockname()
    _LOG.info("gateway on %s:%d for the SuperLink %s:%d", at[0], at[1], *superlink)
    # uvicorn repeats the signal that ended it; being asked to end is no failure.
    with contextlib.suppress(KeyboardInterrupt), orderly():
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    _LOG.info("gateway ended")


def gateway_config(keys: Path, gateway: Gateway) -> uvicorn.Config:
    """Describe the server around a gateway: TLS with the keys' certificate, and its bounds."""
    return uvicorn.Config(
        gateway,
        # h11 and not httptools: it bounds the headers, and shows a target as it was sent.
        http=_BoundedProtocol,
        ws="none",
        lifespan="on",
        ssl_certfile=str(keys / "gateway.crt"),
        ssl_keyfile=str(keys / "gateway.key"),
        proxy_headers=False,
        server_header=False,
        date_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
    )


class _BoundedProtocol(_H11Protocol):
    """One connection of uvicorn's, with two bounds that uvicorn lacks.

    A client that never finishes its request's headers is cut off, and one address holds so many
    connections at most: a station that misbehaves must not keep the others out.
    """

    _open: Final = collections.Counter[str]()
    _late: asyncio.TimerHandle | None = None
    _address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if self._open[address] >= CONNECTIONS_PER_ADDRESS:
            _LOG.warning("refused a connection from %s: it has too many", address)
            transport.abort()
            return
        self._address = address
        self._open[address] += 1
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_came()
        if self._address is not None:
            self._open[self._address] -= 1
            if not self._open[self._address]:
                del self._open[self._address]
            self._address = None
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before: Any = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._request_came()

    def on_response_complete(self) -> None:
        # First, for a request that was sent ahead begins within the call.
        self._expect_request()
        super().on_response_complete()

    def _should_upgrade(self) -> bool:
        return False  # The gateway itself refuses it, and logs it in one line.

    def _expect_request(self) -> None:
        self._request_came()
        self._late = self.loop.call_later(REQUEST_LINE_SECONDS, self._cut)

    def _request_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _cut(self) -> None:
        self._late = None
        self.transport.abort()


def _check_files(keys: Path) -> None:
    for name in ("ca.crt", "gateway.crt", "gateway.key"):
        if not (keys / name).is_file():
            raise InputError(
                f"{keys}: has no {name}; --keys takes the folder `gateway` that "
                "`fedpatchcore keys` made"
            )
    try:
        ssl.create_default_context(cafile=str(keys / "ca.crt"))
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{keys / 'ca.crt'}: is no readable PEM certificate ({error})") from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / "gateway.crt", keys / "gateway.key")
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{keys}: gateway.crt and gateway.key cannot be used together ({error}); expected "
            "the pair that `fedpatchcore keys` made, readable for this user"
        ) from error
    if (mode := (keys / "gateway.key").stat().st_mode) & 0o077:
        raise InputError(
            f"{keys / 'gateway.key'}: can be read by others (mode {stat.S_IMODE(mode):o}); make it "
            f"private: chmod 600 {keys / 'gateway.key'}"
        )
    require_valid(keys / "gateway.crt")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port} ({error}); choose another") from error
