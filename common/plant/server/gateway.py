"""The gateway: it passes what `gateway_rules` allows, and says failures as stations need them.

How a SuperNode takes an answer (flwr 1.41, tried with real ones) decides what is said when the
SuperLink fails:

- 502, 503, 504 or a cut connection: it tries again, without end, at most 20 s apart;
- 401: it ends itself; 403: it takes its run for ended and goes on;
- any other error, a plain 500 above all: its work loop or its heartbeat ends for good, while the
  process stays up and looks healthy.

So a failing SuperLink is told to stations as 502, 503 or 504. Only a request that is answered
with an error for ten minutes on end is shown that error, lest it block its station for ever.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from common.plant.server.gateway_rules import (
    HEALTH_PATH,
    Scope,
    declared_length,
    header,
    is_fleet_call,
    passed_back,
    passed_on,
    shown,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MEBIBYTE: Final = 1 << 20
REFUSAL: Final = "This gateway passes only the fleet API of SuperNodes."
_RETRIED: Final = (502, 503, 504)
_LOG: Final = logging.getLogger("fedpatchcore.gateway")


@dataclass(frozen=True)
class Limits:
    """How much one request may take.

    Attributes
    ----------
    body : int
        Bytes of a request. Flower sends arrays in chunks of 5 MB.
    connect, read, request : float
        Seconds for reaching the SuperLink, between two pieces of a body, and for a whole request.
        A SuperNode itself gives up after 30 s without an answer.
    patience : float
        Seconds for which one station's request is told to try again although the SuperLink
        answers it with an error each time.
    """

    body: int = 64 * MEBIBYTE
    connect: float = 5.0
    read: float = 60.0
    request: float = 300.0
    patience: float = 600.0


class _TooLarge(Exception):
    """The body is above the limit."""


class _ClientGone(Exception):
    """The station went away in mid-request."""


class _TooSlow(Exception):
    """The station did not send on."""


class Gateway:
    """ASGI application between stations and the SuperLink.

    Parameters
    ----------
    superlink : (str, int)
        Host and port of the SuperLink; its certificate must be for this host.
    ca : Path
        Certificate of the plant's authority.
    limits : Limits

    Notes
    -----
    Bodies are passed on piece by piece in both directions: a request holds some 64 kB at each
    of its two ends, however long it is.
    """

    def __init__(self, superlink: tuple[str, int], ca: Path, limits: Limits | None = None) -> None:
        self._host, self._port = superlink
        self._limits = limits or Limits()
        context = ssl.create_default_context(cafile=str(ca))
        self._client = httpx.AsyncClient(
            verify=context,
            trust_env=False,
            # Shorter than the SuperLink's own 5 s: it never closes what we are about to use.
            limits=httpx.Limits(max_connections=400, keepalive_expiry=3.0),
        )
        self._failures = _Failures(self._limits.patience)
        self._down = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; see ASGI."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        raw: bytes = scope["raw_path"]
        if scope["method"] == "GET" and raw == HEALTH_PATH:
            await _answer(send, 200, "gateway")
        elif not is_fleet_call(scope):
            await _refuse(scope, send, 403, REFUSAL)
        elif declared_length(scope) > self._limits.body:
            await self._refuse_large(scope, send)
        else:
            await self._pass(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        problem = (502, "The SuperLink cannot be reached.")
        try:
            async with asyncio.timeout(self._limits.request):
                await self._forward(scope, receive, watched)
            return
        except _ClientGone:
            return
        except _TooLarge:
            if not started:
                await self._refuse_large(scope, send)
            return
        except _TooSlow:
            await _refuse(scope, send, 503, "The request came too slowly; try again.")
            return
        except (TimeoutError, httpx.TimeoutException) as error:
            problem = (504, "The SuperLink took too long.")
            reason = f"no answer in time ({type(error).__name__})"
        except Exception as error:  # of any kind: uvicorn would say 500, and a station be lost
            reason = f"{type(error).__name__}: {error}"
        self._note_down(scope, reason)
        # What has begun cannot be taken back: uvicorn then cuts the connection, and a SuperNode
        # takes a cut connection as a reason to try again.
        if not started:
            await _answer(send, *problem)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = self._limits
        timeout = httpx.Timeout(limits.read, connect=limits.connect)
        path: bytes = scope["raw_path"]
        request = httpx.Request(
            "POST",
            httpx.URL(scheme="https", host=self._host, port=self._port, raw_path=path),
            headers=passed_on(scope),
            content=self._body(receive),
            extensions={"timeout": timeout.as_dict()},
        )
        response = await self._client.send(request, stream=True)
        try:
            self._note_up()
            status = self._status_for(scope, response.status_code)
            if status != response.status_code:
                await _answer(send, status, "The SuperLink failed; try again.")
                return
            kept = passed_back(response.headers.raw)
            await send({"type": "http.response.start", "status": status, "headers": kept})
            async for piece in response.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()

    async def _body(self, receive: Receive) -> AsyncIterator[bytes]:
        """Pieces of the request, counted as they come: a chunked body declares no length."""
        total = 0
        while True:
            try:
                message = await asyncio.wait_for(receive(), self._limits.read)
            except TimeoutError:
                raise _TooSlow from None
            if message["type"] == "http.disconnect":
                raise _ClientGone
            piece: bytes = message.get("body", b"")
            total += len(piece)
            if total > self._limits.body:
                raise _TooLarge
            if piece:
                yield piece
            if not message.get("more_body", False):
                return

    def _status_for(self, scope: Scope, status: int) -> int:
        who = (header(scope, b"flwr-public-key"), scope["raw_path"])
        if status < 500:
            self._failures.forget(who)
            return status
        if status in _RETRIED:
            return status
        again = self._failures.told_to_retry(who, time.monotonic())
        _LOG.warning(
            "the SuperLink answered %d to %s; its station is told %s",
            status,
            shown(scope),
            "to try again (503)" if again else "so, after too long a time of trying again",
        )
        return 503 if again else status

    def _note_down(self, scope: Scope, reason: str) -> None:
        if not self._down:
            place = f"{self._host}:{self._port}"
            _LOG.warning(
                "the SuperLink %s fails: %s (%s); stations are told to try again",
                place,
                reason,
                shown(scope),
            )
        self._down = True

    def _note_up(self) -> None:
        if self._down:
            _LOG.info("the SuperLink answers again")
        self._down = False

    async def _refuse_large(self, scope: Scope, send: Send) -> None:
        await _refuse(
            scope, send, 413, f"A request may have at most {self._limits.body} bytes here."
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._client.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _Failures:
    """Since when each station's call has only failed; the oldest of too many are forgotten."""

    CAPACITY: Final = 4096

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()

    def told_to_retry(self, who: tuple[bytes, bytes], now: float) -> bool:
        since = self._since.setdefault(who, now)
        if len(self._since) > self.CAPACITY:
            self._since.popitem(last=False)
        if now - since < self._patience:
            return True
        self.forget(who)
        return False

    def forget(self, who: tuple[bytes, bytes]) -> None:
        self._since.pop(who, None)


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    client = scope["client"][0] if scope.get("client") else "?"
    _LOG.warning("refused with %d: %s from %s", status, shown(scope), client)
    await _answer(send, status, text)


async def _answer(send: Send, status: int, text: str) -> None:
    body = (text + "\n").encode("ascii")
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode("ascii")),
        # The SuperLink refuses a station whose clock is minutes off: its preflight reads this one.
        (b"date", email.utils.formatdate(usegmt=True).encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
