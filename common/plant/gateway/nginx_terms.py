"""What the gateway's configuration is made of: where it stands, what anybody may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PID_FILE: Final = "nginx.pid"
KEYS: Final = "keys"
"""Link to the key folder: nginx reads a dollar sign in a path as a variable, a link's name not."""
AUTHORITIES: Final = "authorities.pem"
"""Both authorities, for a station shows its own certificate alone."""


@dataclass(frozen=True)
class Limits:
    """What one address, one station and one call may take.

    Attributes
    ----------
    body : int
        Bytes of a request. Flower sends arrays in chunks of 5 MB.
    handshake, header : float
        Seconds for the outer handshake, and for the inner one or a request's headers.
    pause : float
        Seconds between two pieces of a body.
    connect, answer : float
        Seconds for reaching the SuperLink, and between two pieces of its answer. A SuperNode itself
        gives up after 30 s without an answer.
    keep : float
        Seconds without a request; longer than the 5 s of a SuperNode's client, so that a connection
        is never closed under its hands.
    per_address : int
        Connections of one address. A SuperNode keeps about four; many stations may share one
        machine or one address, see `Gateway`.
    per_station : int
        Connections of one certificate.
    calls : int
        Calls of one station in a second, four times as many at once. One that sends parts of
        5 MB makes some tens.
    drain : float
        Seconds that connections of an earlier state live on after a change.
    connections : int
        Sockets of one worker. A station's connection takes six of them.
    """

    body: int = 8 << 20
    handshake: float = 3.0
    header: float = 15.0
    pause: float = 60.0
    connect: float = 5.0
    answer: float = 60.0
    keep: float = 30.0
    per_address: int = 100
    per_station: int = 20
    calls: int = 200
    drain: float = 5.0
    connections: int = 16384


@dataclass(frozen=True)
class Place:
    """What the gateway is told about where it stands.

    Attributes
    ----------
    host, port : str, int
        Where stations reach it.
    superlink : tuple of (str, int)
        Addresses of the SuperLink, in the order in which they are tried; empty if not known.
    name : str
        DNS name that the SuperLink's certificate must carry.
    health_port : int
        On 127.0.0.1, for GET /health without TLS; 0 for none.
    """

    host: str
    port: int
    superlink: tuple[tuple[str, int], ...]
    name: str
    health_port: int = 0


def address(host: str, port: int) -> str:
    """Write an address as nginx and HTTP want it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def milliseconds(seconds: float) -> str:
    """Write a time for nginx."""
    return f"{round(1000 * seconds)}ms"
