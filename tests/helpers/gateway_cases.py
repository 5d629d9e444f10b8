"""A plant's keys, servers that run in a thread, and requests byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from common.plant.server.gateway import Gateway, Limits
from common.plant.server.gateway_server import gateway_config

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
STREAM = bytes(range(256)) * 256  # 64 kB


@dataclass
class Seen:
    """One request that reached the upstream server."""

    method: str
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    size: int
    digest: str


@dataclass
class Upstream:
    """In the SuperLink's place: notes every request, answers as it is told."""

    seen: list[Seen] = field(default_factory=list)
    answer: Answer = (200, [(b"content-type", b"application/x-protobuf")], b"done")
    mode: str = ""  # "hang", "break" (in mid-answer) or a number of STREAM pieces to send

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        size, digest = 0, hashlib.sha256()
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            digest.update(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                break
        self.seen.append(
            Seen(
                scope["method"],
                scope["raw_path"],
                scope["query_string"],
                dict(scope["headers"]),
                size,
                digest.hexdigest(),
            )
        )
        if self.mode == "hang":
            await asyncio.sleep(3)
        status, headers, body = self.answer
        if not self.mode or self.mode == "hang":
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        pieces = int(self.mode) if self.mode.isdigit() else 0
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": STREAM, "more_body": True})
        if self.mode == "break":
            await send({"type": "http.response.body", "body": STREAM, "more_body": True})
            raise RuntimeError("broken on purpose")
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serving(config: uvicorn.Config) -> Iterator[int]:
    """Run a server in a thread and give its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.02)
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def upstream_config(keys: Path, app: object, certificate: str = "superlink") -> uvicorn.Config:
    """Serve as the SuperLink does, with the plant's (or another) certificate."""
    folder = keys / ("server" if certificate == "superlink" else "gateway")
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        ssl_certfile=str(folder / f"{certificate}.crt"),
        ssl_keyfile=str(folder / f"{certificate}.key"),
        log_config=None,
        ws="none",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )


@contextlib.contextmanager
def gateway_in_thread(keys: Path, upstream_port: int, limits: Limits) -> Iterator[int]:
    gateway = Gateway(("localhost", upstream_port), keys / "gateway" / "ca.crt", limits)
    with serving(gateway_config(keys / "gateway", gateway)) as port:
        yield port


@contextlib.contextmanager
def connected(keys: Path, port: int) -> Iterator[ssl.SSLSocket]:
    """A TLS connection to the gateway, its certificate checked as a SuperNode does."""
    context = ssl.create_default_context(cafile=str(keys / "stations" / "clips" / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        yield secure


def exchange(keys: Path, port: int, *pieces: bytes) -> tuple[int, bytes]:
    """Send bytes as they are and read one answer: its status and its body."""
    with connected(keys, port) as there:
        for piece in pieces:
            there.sendall(piece)
        return read_answer(there)


def read_answer(there: ssl.SSLSocket) -> tuple[int, bytes]:
    found = bytearray()
    while b"\r\n\r\n" not in found:
        piece = there.recv(1 << 16)
        assert piece, f"the connection ended after {bytes(found)!r}"
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    lines = bytes(head).split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
    while len(body) < int(headers.get(b"content-length", 0)):
        piece = there.recv(1 << 16)
        assert piece, "the answer was cut off"
        body += piece
    return int(lines[0].split()[1]), bytes(body)


def post(path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as a SuperNode sends it."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
