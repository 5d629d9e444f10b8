"""In front of the application: access, sizes and times, before and while a body is read."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException

from common.line.service.access import Door, Refusal, may
from common.line.service.bounds import Bounds
from common.line.service.entries import API, EVENTS, PARTS, TICKETS
from common.line.service.service import Service, error_bytes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

OPEN: Final = ("/health", f"{API}/health", "/docs", "/openapi.json")
"""What is answered without a token: it tells nothing of the plant."""
_FORM_BYTES: Final = 16_384
"""Room of a form's other fields and of its boundaries."""
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_DRAIN_SECONDS: Final = 0.5
_CLOSE: Final = {"connection": "close"}
_NO_PAGE: Final = b"default-src 'none'; frame-ancestors 'none'"
_DOCS: Final = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class Gate:
    """ASGI middleware; every request comes through it."""

    def __init__(self, app: App, service: Service, door: Door, bounds: Bounds) -> None:
        self.app, self.service, self.door, self.bounds = app, service, door, bounds

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            self.service.metrics.failed("refused")
            await _drain(receive, self.bounds.json_bytes)
            await _refuse(send, refusal.status, refusal.sentence)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = _DOCS if scope["path"] == "/docs" else _NO_PAGE
                extra = [*_HEADERS, (b"content-security-policy", policy)]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        reader = _Body(receive, self._largest(scope), self.bounds.body_seconds)
        await self.app(scope, reader, answer)

    def _refusal(self, scope: MutableMapping[str, Any]) -> Refusal | None:
        method, path, headers = scope["method"], scope["path"], scope["headers"]
        refused = self.door.refusal(method, headers)
        if refused is not None or path in OPEN:
            return refused
        role = self._role(scope)
        if isinstance(role, Refusal):
            return role
        needed = _needed(method, path)
        if not may(role, needed):
            return Refusal(403, f"a token of the role {role} may not do that; it takes {needed}")
        scope.setdefault("state", {})["role"] = role
        own = dict(headers)
        length, largest = own.get(b"content-length", b"0"), self._largest(scope)
        if not length.isdigit() or len(length) > 18 or int(length) > largest:
            return Refusal(413, f"the request is larger than {largest} bytes")
        kind = own.get(b"content-type", b"").split(b";")[0].strip().lower()
        if method == "POST":
            wanted = b"multipart/form-data" if path == PARTS else b"application/json"
            if kind != wanted:
                return Refusal(415, f"expected Content-Type: {wanted.decode()}")
        return None

    def _role(self, scope: MutableMapping[str, Any]) -> str | Refusal:
        """By a token; for events by a ticket, too, which is used up by that."""
        found = self.door.role(scope["headers"])
        if isinstance(found, Refusal) and (scope["method"], scope["path"]) == ("GET", EVENTS):
            given = parse_qs(scope["query_string"].decode("latin-1")).get("ticket", [])
            if len(given) == 1 and (role := self.service.tickets.take(given[0])) is not None:
                return role
        return found

    def _largest(self, scope: MutableMapping[str, Any]) -> int:
        if scope["method"] == "POST" and scope["path"] == PARTS:
            return self.bounds.upload_bytes + _FORM_BYTES
        return self.bounds.json_bytes


def _needed(method: str, path: str) -> str:
    """The role that a request takes."""
    if method in ("GET", "HEAD") or path in (PARTS, TICKETS):
        return "line"
    return "operator" if path.startswith(f"{PARTS}/") else "engineer"


class _Body:
    """A request's body, as far as it keeps to its size and comes in time."""

    def __init__(self, receive: Receive, largest: int, seconds: float) -> None:
        self._receive, self._largest = receive, largest
        self._until, self._seconds = time.monotonic() + seconds, seconds
        self._size, self._whole = 0, False

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()  # waits for the client to leave
        try:
            left = self._until - time.monotonic()
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            sentence = f"the request did not arrive within {self._seconds:g} seconds"
            raise HTTPException(408, sentence, _CLOSE) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._size > self._largest:
                sentence = f"the request is larger than {self._largest} bytes"
                raise HTTPException(413, sentence, _CLOSE)
        return message


async def _drain(receive: Receive, most: int) -> None:
    """Take a small body that is on its way, and forget it.

    A connection that is closed while something comes in is reset, and then the client may never
    read why. Of what is larger, or slow, the rest is cut off.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            more, left = True, most
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message["type"] == "http.request" and message.get("more_body", False)


async def _refuse(send: Send, status: int, sentence: str) -> None:
    """Answer, and close the connection: whatever else was to come is not read."""
    body = error_bytes(sentence)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *_HEADERS,
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
