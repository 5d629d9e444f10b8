"""A download while it runs: over as many connections as it takes, each going on where one ended."""

from __future__ import annotations

import functools
import hashlib
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

import httpx

import common
from common.data.fetch.trouble import (
    DownloadError,
    StoppedError,
    TryAgainError,
    as_trouble,
    refused_by_server,
    shown_url,
    size_text,
)
from common.data.fetch.verify import BLOCK
from common.errors import InputError

Progress = Callable[[int, int | None], None]
"""Is told (bytes here, bytes in all or None)."""

_LONGEST_PAUSE: Final = 60.0


@dataclass(frozen=True)
class Patience:
    """How long a download may take.

    Attributes
    ----------
    stall : float
        Seconds without a byte, until a connection is given up.
    total : float
        Seconds in all.
    tries : int
        Attempts in a row that bring nothing new. What brings something is always followed up.
    pause : float
        Seconds before a second try; twice as many before each further one, a minute at most.
    """

    stall: float = 30.0
    total: float = 12 * 3600.0
    tries: int = 5
    pause: float = 1.0


PATIENCE: Final = Patience()
"""What is waited where nobody says otherwise."""


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Whom this machine trusts; read once, as that takes a fifth of a second."""
    return httpx.create_ssl_context()


class Transfer:
    """One download while it runs: what is here, its digest so far, and how often it was tried."""

    def __init__(
        self,
        url: str,
        sha256: str,
        size: int | None,
        file: BinaryIO,
        patience: Patience,
        progress: Progress | None,
        stop: threading.Event | None,
    ) -> None:
        self.url, self.sha256, self.size, self.total = url, sha256.lower(), size, size
        self.file, self.patience, self.progress, self.stop = file, patience, progress, stop
        self.until = time.monotonic() + patience.total
        self.here = self.furthest = 0
        self.digest = hashlib.sha256()
        self.ranges = True
        """Whether the server is still asked to go on where the part ends."""
        self.answered = False
        self.stale = False
        """Whether some bytes come from an earlier call, perhaps of another file."""

    def run(self) -> None:
        """Try until the file is whole, or nothing new comes."""
        self._take_up()
        with self._client() as client:
            while True:
                self._fetch(client)
                found = self.digest.hexdigest()
                if found.startswith(self.sha256):
                    return
                self._restart()
                if not self.stale:
                    break
                self.stale, self.furthest = False, 0
        raise DownloadError(
            f"{shown_url(self.url)}: not the expected file: its sha256 is {found[:16]}..., "
            f"expected {self.sha256[:16]}...; it was thrown away: try again, or another source"
        )

    def _fetch(self, client: httpx.Client) -> None:
        """Bring the rest here, over as many connections as that takes."""
        idle = 0
        while not self._complete():
            before = self.furthest
            try:
                with as_trouble(self.url):
                    self._attempt(client)
            except TryAgainError as trouble:
                idle = 0 if self.furthest > before else idle + 1
                # Without a network there is nothing to wait for.
                most = self.patience.tries if self.answered else min(2, self.patience.tries)
                if idle >= most:
                    raise DownloadError(
                        f"{shown_url(self.url)}: {trouble}, {idle} times in a row; {self._next()}",
                        everywhere=not self.answered,
                    ) from trouble
                self._rest(max(trouble.pause, self.patience.pause * 2 ** min(idle, 6)))

    def _complete(self) -> bool:
        return self.total is not None and self.here == self.total

    def _client(self) -> httpx.Client:
        timeout = httpx.Timeout(min(self.patience.stall, self.patience.total))
        # As it lies there: a compressed answer has another size, another digest, and no ranges.
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": f"fedpatchcore/{common.__version__}",
        }
        try:
            return httpx.Client(
                verify=_trusted(), timeout=timeout, headers=headers, follow_redirects=True
            )
        except (ValueError, ImportError, OSError) as error:
            raise InputError(
                f"this machine's proxy or certificate settings cannot be used ({error}); mend "
                "HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE"
            ) from error

    def _take_up(self) -> None:
        """Digest what an earlier call left."""
        self.file.seek(0)
        while block := self.file.read(BLOCK):
            self._look_up()
            self._count(block)
        self.stale = self.here > 0
        if self.size is not None and self.here > self.size:
            self._restart()

    def _attempt(self, client: httpx.Client) -> None:
        """One connection: the rest of the file, or as much of it as comes."""
        asked = self.ranges and self.here > 0
        headers = {"Range": f"bytes={self.here}-"} if asked else {}
        with client.stream("GET", self.url, headers=headers) as answer:
            self.answered = True
            if answer.status_code == 416 and asked:
                self._nothing_beyond(answer)
                return
            refused_by_server(self.url, answer)
            self._begin(answer, asked)
            for block in answer.iter_raw():
                self._look_up()
                if self.total is not None and self.here + len(block) > self.total:
                    raise self._wrong_size("more bytes")
                self.file.write(block)
                self._count(block)
        if self.total is None:
            self.total = self.here
        if self.here < self.total:
            raise TryAgainError(f"the connection ended after {self.here:,} bytes of {self.total:,}")

    def _begin(self, answer: httpx.Response, asked: bool) -> None:
        """Take the server's word for where its bytes belong, if it fits what is here."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise DownloadError(
                f"{shown_url(self.url)}: the server packs the file "
                f"({answer.headers['Content-Encoding']}) unasked; try another source"
            )
        length = answer.headers.get("Content-Length", "")
        whole = int(length) if length.isdigit() else None
        if answer.status_code == 206:
            found = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "")
            )
            if not asked or found is None or int(found[1]) != self.here:
                self.ranges = False
                raise TryAgainError("the server sent another part than it was asked for")
            whole = int(found[2]) if found[2] != "*" else None
        if whole is not None:
            if self.size is not None and whole != self.size:
                raise self._wrong_size(f"{whole:,} bytes")
            if self.total is not None and whole != self.total:
                self.stale = True  # another file than at the last attempt
        if answer.status_code == 200 and self.here:
            self._restart()  # it knows no ranges
        self.total = self.total if whole is None else whole

    def _nothing_beyond(self, answer: httpx.Response) -> None:
        """Where the server says that nothing follows, the part is whole, or of no use."""
        told = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
        if self.size is None and told is not None and int(told[1]) == self.here:
            self.total = self.here
            return
        self.ranges = False
        self._restart()
        raise TryAgainError("the server has nothing beyond the part that is here")

    def _count(self, block: bytes) -> None:
        self.digest.update(block)
        self.here += len(block)
        self.furthest = max(self.furthest, self.here)
        if self.progress is not None:
            self.progress(self.here, self.total)

    def _restart(self) -> None:
        self.file.truncate(0)
        self.here, self.digest, self.total = 0, hashlib.sha256(), self.size

    def _wrong_size(self, found: str) -> DownloadError:
        return DownloadError(
            f"{shown_url(self.url)}: the server has {found}, expected {self.total or self.size:,}; "
            "is it an error page or another version? check the address, or try another source"
        )

    def _look_up(self) -> None:
        """End where the time is up or another thread says so."""
        if self.stop is not None and self.stop.is_set():
            raise StoppedError
        if time.monotonic() > self.until:
            raise DownloadError(
                f"{shown_url(self.url)}: not done after {self.patience.total:g} s; {self._next()}"
            )

    def _rest(self, seconds: float) -> None:
        seconds = min(seconds, _LONGEST_PAUSE, max(0.0, self.until - time.monotonic()) + 0.01)
        if self.stop is None:
            time.sleep(seconds)
        else:
            self.stop.wait(seconds)
        self._look_up()

    def _next(self) -> str:
        if not self.answered:
            return "check the network and the address, or name another source"
        if not self.here:
            return "try again later, or name another source"
        return f"the {size_text(self.here)} that came are kept: the same command goes on from there"
