"""What passes through the gateway: the calls and headers of SuperNodes, and nothing else."""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

Scope = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]

HEALTH_PATH: Final = b"/health"
_FLEET_PATH: Final = re.compile(rb"/v1/fleet/[a-z]+(-[a-z]+)*")
"""Nothing that could be read in two ways: no dot, no percent sign, no second slash, no capital."""
_REQUEST_HEADERS: Final = frozenset(
    {b"accept", b"accept-encoding", b"content-length", b"content-type", b"user-agent"}
)
_OWN_PREFIX: Final = b"flwr-"
"""Flower's own headers: a station's key, its signature, the time that it signed, its version."""
_HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer"}
    | {b"transfer-encoding", b"upgrade", b"server", b"date"}
)


def is_fleet_call(scope: Scope) -> bool:
    """Whether a request is one that a SuperNode makes; judged by the bytes that are passed on.

    Parameters
    ----------
    scope : mapping
        Of an ASGI request; `raw_path` must be the target as it was sent.
    """
    return (
        scope["type"] == "http"
        and scope["method"] == "POST"
        and _FLEET_PATH.fullmatch(scope["raw_path"]) is not None
        and not scope["query_string"]
        and not header(scope, b"upgrade")
        # Two lengths of one body are how requests are smuggled past a proxy.
        and not (header(scope, b"transfer-encoding") and header(scope, b"content-length"))
    )


def passed_on(scope: Scope) -> Headers:
    """Headers of a request that the SuperLink gets to see."""
    return [
        (name, value)
        for name, value in scope["headers"]
        if name in _REQUEST_HEADERS or name.startswith(_OWN_PREFIX)
    ]


def passed_back(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Headers of the SuperLink's answer that the station gets to see."""
    lowered = ((name.lower(), value) for name, value in headers)
    return [(name, value) for name, value in lowered if name not in _HOP_BY_HOP]


def declared_length(scope: Scope) -> int:
    """Bytes of the body as the request says; 0 if it does not."""
    return int(header(scope, b"content-length") or 0)


def header(scope: Scope, wanted: bytes) -> bytes:
    """First header of this name, in lower case; empty if there is none."""
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def shown(scope: Scope) -> str:
    """Name a request in a log, short and printable."""
    target = scope["raw_path"] + (b"?..." if scope["query_string"] else b"")
    text = f"{scope['method'][:16]} {target[:100].decode('ascii', 'replace')}"
    return text + ("..." if len(target) > 100 else "")
