"""A plant's keys, servers that run in a thread, and requests byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import uvicorn
from processes import started, wait_for
from requirements import missing
from tunnel import KEY, Tunnel, through

from common.errors import InputError
from common.plant.gateway.gateway import Gateway
from common.plant.gateway.nginx_program import find_nginx
from common.plant.gateway.nginx_terms import Limits
from common.runs.processes import children_of

TOOLS = Path(sys.executable).parent
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


class Passing:
    """An ASGI application that hands every call on to a SuperLink, and its answer back."""

    def __init__(self, superlink: int, ca: Path) -> None:
        self._there = f"https://localhost:{superlink}"
        self._trust = ssl.create_default_context(cafile=str(ca))
        self._client: httpx.AsyncClient | None = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if self._client is None:  # of this loop
            self._client = httpx.AsyncClient(verify=self._trust, trust_env=False, timeout=60)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = [pair for pair in scope["headers"] if pair[0] not in (b"host", b"connection")]
        url = self._there + scope["raw_path"].decode()
        try:
            answer = await self._client.post(url, content=body, headers=headers)
            status, found, content = answer.status_code, answer.headers.raw, answer.content
        except httpx.TransportError:
            status, found, content = 502, [], b"the SuperLink is away"
        hop = (b"content-length", b"content-encoding", b"transfer-encoding", b"connection", b"date")
        kept = [(name.lower(), value) for name, value in found if name.lower() not in hop]
        kept.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": status, "headers": kept})
        await send({"type": "http.response.body", "body": content})


@contextlib.contextmanager
def serving(config: uvicorn.Config, port: int = 0) -> Iterator[int]:
    """Run a server in a thread and give its port."""
    listener = socket.create_server(("127.0.0.1", port))
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


def need_nginx() -> None:
    """Skip where this machine has no nginx with its stream module, or fail where it must."""
    try:
        find_nginx()
    except InputError as error:
        missing("nginx", str(error))


@contextlib.contextmanager
def gateway_in_thread(
    keys: Path,
    upstream_port: int,
    limits: Limits | None = None,
    host: str = "localhost",
    told: list[str] | None = None,
    port: int = 0,
) -> Iterator[int]:
    """A real nginx, watched by a thread of this process; gives its port.

    `told` takes the lines of its log.
    """
    need_nginx()
    gateway = Gateway(keys / "gateway", (host, upstream_port), "127.0.0.1", port, limits=limits)
    if told is not None:
        gateway.words.bounded.tell = told.append
    loop = asyncio.new_event_loop()
    ready, ending = asyncio.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(gateway.run(ending, ready)))
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(ready.wait(), 30), loop).result()
        yield gateway.port
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


@contextlib.contextmanager
def gateway_process(
    keys: Path, superlink: int, log: Path, *more: str
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`fedpatchcore plant gateway` as a process; gives its port, and itself."""
    need_nginx()
    command = [str(TOOLS / "fedpatchcore"), "plant", "gateway", f"--keys={keys / 'gateway'}"]
    command += [f"--superlink=localhost:{superlink}", "--host=127.0.0.1", "--port=0", *more]
    # A proxy in the environment is none of the gateway's business.
    environment = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:1"}
    with started(command, log, environment) as process:
        where = re.compile(r"gateway on 127\.0\.0\.1:(\d+)")

        def found() -> bool:
            assert process.poll() is None, log.read_text()
            return where.search(log.read_text()) is not None

        wait_for("the gateway", found, 60)
        port = where.search(log.read_text())
        assert port
        yield int(port[1]), process


def is_told(told: list[str], *words: str) -> str:
    """The line that has all these words, when it is there."""

    def found() -> list[str]:
        return [line for line in told if all(word in line for word in words)]

    wait_for(f"{words} in {told}", found, 15)
    return found()[0]


def family(pid: int) -> list[int]:
    """A gateway's process, its nginx, and that one's workers."""
    found = [pid]
    for parent in found:
        found += sorted(children_of(parent))
    return found


def megabytes(pid: int, what: str = "Pss") -> float:
    """Memory of a gateway with its nginx: what the processes share is counted once."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):  # a worker that has just ended
            told = Path(f"/proc/{one}/smaps_rollup").read_text()
            rows = re.search(rf"^{what}:\s+(\d+) kB", told, re.MULTILINE)
            total += int(rows[1]) if rows else 0
    return total / 1024


class Peak:
    """The most memory that a gateway has held while this block ran."""

    def __init__(self, pid: int) -> None:
        self._pid, self._done = pid, threading.Event()
        self.before = self.most = megabytes(pid)
        self._thread = threading.Thread(target=self._watch)

    @property
    def more(self) -> float:
        return self.most - self.before

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self.most = max(self.most, megabytes(self._pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join(20)


def connected(
    keys: Path, port: int, station: str = "clips"
) -> contextlib.AbstractContextManager[Tunnel]:
    """A connection to the gateway as a station has it; both certificates are checked."""
    return through(keys, port, station)


def exchange(keys: Path, port: int, *pieces: bytes, station: str = "clips") -> tuple[int, bytes]:
    """Send bytes as they are and read one answer: its status and its body."""
    with connected(keys, port, station) as there:
        for piece in pieces:
            there.sendall(piece)
        return read_answer(there)


def read_answer(there: Tunnel) -> tuple[int, bytes]:
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
    """A request as a SuperNode sends it, with its own key unless another one is given."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    headers = {"flwr_public_key": KEY.decode(), **headers}
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
