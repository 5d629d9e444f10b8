"""Where the SuperLink is: nginx looks a name up once, at its start, so this is done for it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Final

from common.errors import InputError

SECONDS: Final = 5.0
"""Longest wait for a name."""
Addresses = tuple[tuple[str, int], ...]


def certified_name(host: str) -> str:
    """Name that the SuperLink's certificate must carry, for nginx compares DNS names alone.

    Raises
    ------
    InputError
        If it is dialled by an IP address of another machine.
    """
    address = _address(host)
    if address is None:
        return host
    if not address.is_loopback:
        raise InputError(
            f"--superlink {host}: is an IP address, and nginx compares a certificate with DNS names"
            " only; give a name that is on superlink.crt (one line in /etc/hosts lets this machine "
            "know it), as superlink:8000"
        )
    return "localhost"  # on every certificate of a plant, as 127.0.0.1 is


async def addresses_of(host: str, port: int, seconds: float = SECONDS) -> Addresses:
    """Look a host up, IPv4 first.

    Raises
    ------
    OSError
        If it is not known, or not within the deadline.
    """
    if _address(host) is not None:
        return ((host, port),)
    try:
        async with asyncio.timeout(seconds):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
    except TimeoutError:
        raise OSError(f"the name {host!r} was not resolved in {seconds:g} s") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"the name {host!r} cannot be resolved ({reason})") from error
    ranked = sorted({(family, str(where[0])) for family, _, _, _, where in found})
    return tuple((address, port) for _, address in ranked)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
