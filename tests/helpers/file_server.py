"""A real web server on this machine that serves a few files, and goes wrong as told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What a server is to do; lists are used up, one entry a request.

    Attributes
    ----------
    files : dict of path to bytes
    ranges : bool
        It knows the `Range` header.
    cuts : list of int or None
        Bytes after which the connection is closed.
    statuses : list of int or None
        Instead of an answer.
    lengths : list of int or None
        Said in `Content-Length`, instead of the truth.
    stall : float
        Seconds of silence in which a cut ends, instead of at once.
    always : dict of attribute to value
        For requests for which the lists above have nothing left.
    asked : list of (path, value of `Range` or empty)
    """

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    lengths: list[int | None] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    stall: float = 0.0
    pace: float = 0.0
    chunked: bool = False
    always: dict[str, int] = field(default_factory=dict)
    shift: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""
    ending: threading.Event = field(default_factory=threading.Event)

    def next(self, name: str) -> int | None:
        """Take the next entry of a list."""
        entries: list[int | None] = getattr(self, name)
        return entries.pop(0) if entries else self.always.get(name)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@contextmanager
def file_server(**told: object) -> Iterator[FileServer]:
    """Serve on a free port until the block ends."""
    served = FileServer(**told)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def end_headers(self) -> None:
            self.send_header("Connection", "close")
            super().end_headers()

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            served.asked.append((self.path, asked))
            status, cut, length = map(served.next, ("statuses", "cuts", "lengths"))
            content = served.files.get(self.path.partition("?")[0].lstrip("/"))
            self.close_connection = True
            if status is not None or content is None:
                self.send_response(status or 404)
                for name, value in served.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"sorry")
                return
            start, found = 0, re.fullmatch(r"bytes=(\d+)-", asked)
            if found and served.ranges:
                start = int(found[1])
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start += served.shift
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            body = content[start:]
            if not served.chunked:
                self.send_header("Content-Length", str(len(body) if length is None else length))
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.send(body if cut is None else body[:cut])
            except OSError:
                return  # the other side has gone
            if cut is not None and served.stall:
                served.ending.wait(served.stall)

        def send(self, body: bytes) -> None:
            step = 4096 if served.pace else len(body) or 1
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                self.wfile.flush()
                if served.pace:
                    time.sleep(served.pace)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        served.ending.set()
        server.shutdown()
        server.server_close()
