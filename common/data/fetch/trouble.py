"""What goes wrong between here and a web server, in words."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import time
from collections.abc import Iterator
from typing import Final

import httpx

from common.errors import InputError, RunError

_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of a server that may say something else in a while."""


class DownloadError(RunError):
    """A file could not be had.

    Attributes
    ----------
    everywhere : bool
        Other files of the same source would fare no better.
    """

    def __init__(self, text: str, *, everywhere: bool = False) -> None:
        super().__init__(text)
        self.everywhere = everywhere


class TryAgainError(Exception):
    """An attempt failed that may go well next time; `pause` is in seconds, the server's wish."""

    def __init__(self, text: str, pause: float = 0.0) -> None:
        super().__init__(text)
        self.pause = pause


class StoppedError(Exception):
    """Another thread said that this one should end; nothing is wrong here."""


def shown_url(url: str) -> str:
    """Return an address as it may be shown and stored: without user, password and query.

    Parameters
    ----------
    url : str
        Anything; what is no address stays as it is.

    Examples
    --------
    >>> from common.data.fetch.trouble import shown_url
    >>> shown_url("https://me:secret@mirror.example/autovi/pipe_clip.zip?token=1")
    'https://mirror.example/autovi/pipe_clip.zip'
    """
    try:
        parts = httpx.URL(url)
        return str(parts.copy_with(userinfo=b"", query=None, fragment=None))
    except (httpx.InvalidURL, TypeError):
        return url


def size_text(count: int) -> str:
    """Bytes as people say them.

    Examples
    --------
    >>> from common.data.fetch.trouble import size_text
    >>> size_text(3_969_016_527), size_text(249_059_163), size_text(12_000), size_text(12)
    ('3.97 GB', '249.1 MB', '12.0 kB', '12 bytes')
    """
    if count >= 10**9:
        return f"{count / 10**9:.2f} GB"
    if count >= 10**6:
        return f"{count / 10**6:.1f} MB"
    return f"{count / 10**3:.1f} kB" if count >= 10**3 else f"{count} bytes"


@contextlib.contextmanager
def as_trouble(url: str) -> Iterator[None]:
    """Make the client's errors ours: what may pass, what will not, and what is no address."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise InputError(
            f"{shown_url(url)}: not an address that can be fetched from ({error}); expected "
            "https://... or http://..."
        ) from error
    except httpx.TooManyRedirects as error:
        raise DownloadError(
            f"{shown_url(url)}: redirected in a circle; check the address, or try another source"
        ) from error
    except httpx.ConnectTimeout as error:
        raise TryAgainError("the server does not answer") from error
    except httpx.TimeoutException as error:
        raise TryAgainError("the server stopped sending") from error
    except (httpx.ConnectError, httpx.ProxyError) as error:
        raise TryAgainError(f"the server cannot be reached ({_words(error)})") from error
    except httpx.TransportError as error:
        raise TryAgainError(f"the connection broke off ({_words(error)})") from error


def refused_by_server(url: str, answer: httpx.Response) -> None:
    """Raise what an answer without the file means.

    Raises
    ------
    TryAgainError
        If the server is busy or in trouble.
    DownloadError
        For every other answer than 200 and 206.
    """
    code = answer.status_code
    if code in (200, 206):
        return
    told = f"the server answers {code} {http.client.responses.get(code, '')}".rstrip()
    if code in _PASSING:
        raise TryAgainError(told, _wish(answer.headers.get("Retry-After", "")))
    raise DownloadError(
        f"{shown_url(url)}: {told}, expected the file; check the address, or try another source"
    )


def _wish(text: str) -> float:
    """Seconds after which a server wants to be asked again; 0 where it says nothing."""
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _words(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
