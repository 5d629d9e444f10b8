"""A relay on this machine between a SuperNode and the gateway, which notes who spoke when.

A SuperNode dials without a certificate of its own. The relay has the station's: it opens the
connection that the gateway asks for, TLS with both ends known, and carries the SuperNode's own TLS
inside it, untouched: nothing of that is decrypted here.

A SuperNode whose work loop has ended looks healthy from everywhere on its machine; that it sends
nothing any more shows only on the wire.

A SuperNode (flwr 1.41) tries again after any broken connection, except when the error's text has
"ssl", "tls" or "certificate" in it: then it gives up for good. A connection that ends within the
TLS handshake, or a handshake that takes too long, gives just such a text. The relay accepts every
connection at once, so it must not let one end in that way: until the handshake is through, it ends
connections with a reset, which a SuperNode takes for what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from common.errors import InputError
from common.plant.station.gateway_tls import GatewayTls, why

CONNECT_SECONDS: Final = 10.0
"""For the name, the connection and the outer handshake."""
HANDSHAKE_SECONDS: Final = 15.0
"""For the inner one; both together are below the 30 s after which a SuperNode gives it up."""
PIECE: Final = 64 * 1024
_GOODBYE_SECONDS: Final = 5.0
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Relay:
    """Passes bytes between 127.0.0.1:port and a gateway.

    Parameters
    ----------
    address : (str, int)
        Host and port of the gateway; the name is resolved anew for each connection, and must be on
        its certificate.
    tls : GatewayTls
        Whom to trust and what to show; its files are read anew for each connection.
    on_unreachable, on_reachable : callable, optional
        Told (with the reason) when the gateway cannot be reached any more or takes this station no
        longer, and when it has answered again.

    Attributes
    ----------
    last_sent : float or None
        `time.monotonic()` of the SuperNode's last connection or bytes.
    last_answer : float or None
        The same of the gateway's last bytes.

    Notes
    -----
    Holds at most half a megabyte per connection besides the kernel's buffers.
    """

    def __init__(
        self,
        address: tuple[str, int],
        tls: GatewayTls,
        on_unreachable: Callable[[str], None] = lambda reason: None,
        on_reachable: Callable[[], None] = lambda: None,
    ) -> None:
        self.last_sent: float | None = None
        self.last_answer: float | None = None
        self._address, self.tls = address, tls
        self._on_unreachable, self._on_reachable = on_unreachable, on_reachable
        self._reachable = True
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Port on 127.0.0.1 where the SuperNode connects."""
        if self._server is None:
            raise RuntimeError("the relay has not been started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def forget(self) -> None:
        """Begin anew: what was noted belonged to a SuperNode that is no more."""
        self.last_sent = self.last_answer = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        self.last_sent = time.monotonic()
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
        except Exception:
            # A broken connection on either side; the other one learns it in the same way.
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                there = await asyncio.open_connection(
                    *self._address,
                    limit=PIECE,
                    ssl=self.tls.context(),
                    server_hostname=self._address[0],
                    ssl_shutdown_timeout=_GOODBYE_SECONDS,
                )
        except (OSError, TimeoutError, InputError) as error:
            self.note_unreachable(why(error, self._address[0], CONNECT_SECONDS))
            _reset(writer)
            return
        connection = _Connection(self, (reader, writer), there)
        try:
            await connection.run()
        finally:
            _reset(there[1]) if connection.broken else there[1].close()
            _reset(writer) if connection.broken else writer.close()

    def note_unreachable(self, reason: str) -> None:
        """Tell once why the gateway does not answer."""
        if self._reachable:
            self._reachable = False
            self._on_unreachable(reason)

    def note_answer(self) -> None:
        """Note that the gateway has said something; before that, it may still refuse."""
        self.last_answer = time.monotonic()
        if not self._reachable:
            self._reachable = True
            self._on_reachable()


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One connection, from the SuperNode (`here`) to the gateway (`there`)."""

    def __init__(self, relay: Relay, here: Ends, there: Ends) -> None:
        self._relay = relay
        self._here, self._there = here, there
        self._answered = False
        self._settled = asyncio.Event()
        self.broken = True

    async def run(self) -> None:
        """Pass bytes until the SuperNode ends it, which the gateway is not asked about."""
        tasks = [asyncio.ensure_future(one) for one in (self._up(), self._down(), self._watch())]
        try:
            for done in asyncio.as_completed(tasks):
                await done
                if tasks[0].done():
                    break
            self.broken = False
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Break a handshake that takes too long before the SuperNode does."""
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await self._settled.wait()

    async def _up(self) -> None:
        while piece := await self._here[0].read(PIECE):
            self._relay.last_sent = time.monotonic()
            # What the SuperNode says after a first answer belongs to an established session.
            if self._answered:
                self._settled.set()
            self._there[1].write(piece)
            await self._there[1].drain()

    async def _down(self) -> None:
        while piece := await self._heard():
            self._relay.note_answer()
            self._answered = True
            self._here[1].write(piece)
            await self._here[1].drain()
        if not self._settled.is_set():
            raise ConnectionResetError("the gateway ended a connection within its handshake")
        with contextlib.suppress(OSError):
            self._here[1].write_eof()

    async def _heard(self) -> bytes:
        """The gateway's next bytes; its refusal is an end before the first of them."""
        try:
            piece = await self._there[0].read(PIECE)
        except OSError:
            piece = b""
            if self._answered:
                raise
        if not piece and not self._answered:
            self._relay.note_unreachable(self._relay.tls.refused())
        return piece


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST and not FIN."""
    with contextlib.suppress(OSError, AttributeError):
        plain: socket.socket = writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()
