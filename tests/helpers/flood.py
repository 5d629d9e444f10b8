"""Attacks on a gateway's open port, as a process of its own: its time is not the gateway's.

Whoever attacks a plant does it from another machine, so this process takes only what is left of
this one: `python flood.py KIND PORT KEYS`. It prints what it has done.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from gateway_cases import post, read_answer
from tunnel import KEY, outer_context, through

PULL = "/v1/fleet/pull-messages"
PIECE = 1 << 16
UPLOAD = 63_000_000
UPLOADS = 30
IDLE = 2_000
REQUESTS = 10_000
REFUSALS = (400, 403, 405, 408, 411, 413, 414, 501, 505)


def by_threads(number: int, one: Callable[[int], object], side_by_side: int = 8) -> list[object]:
    """Do something many times, some at once; what each of them gave."""
    numbers, lock, given = iter(range(number)), threading.Lock(), list[object]()

    def work() -> None:
        while True:
            with lock:
                mine = next(numbers, None)
            if mine is None:
                return
            given.append(one(mine))

    threads = [threading.Thread(target=work) for _ in range(side_by_side)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def upload_without(port: int, keys: Path, number: int) -> str:
    """63 MB by somebody who has no certificate."""
    source = (f"127.0.3.{1 + number}", 0)
    with (
        socket.create_connection(("127.0.0.1", port), 20, source) as plain,
        contextlib.suppress(OSError),
        outer_context(keys, None).wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        for _ in range(UPLOAD // PIECE):
            tls.sendall(bytes(PIECE))
        return "taken"
    return "cut off"


def upload_with(port: int, keys: Path, number: int) -> str:
    """63 MB by another station: 413, or cut off while it still sends."""
    head = f"POST {PULL} HTTP/1.1\r\nhost: g\r\nflwr-public-key: {KEY.decode()}\r\n"
    with (
        contextlib.suppress(OSError, AssertionError),
        through(keys, port, "other", source=f"127.0.3.{1 + number}") as there,
    ):
        there.sendall(f"{head}content-length: {UPLOAD}\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            for _ in range(UPLOAD // PIECE):
                there.sendall(bytes(PIECE))
        return str(read_answer(there)[0])
    return "cut off"


def idle(port: int) -> str:
    """Connections that say nothing, of addresses that keep within their limit, until they end."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * IDLE), hard))
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(
                socket.create_connection(
                    ("127.0.0.1", port), 20, (f"127.0.1.{1 + number // 80}", 0)
                )
            )
            for number in range(IDLE)
        ]
        begun = time.monotonic()
        for one in held:
            one.settimeout(60)
            with contextlib.suppress(ConnectionError):
                assert one.recv(1) == b""
        return f"ended after {time.monotonic() - begun:.0f} s"


def fuzz(port: int, keys: Path, number: int) -> str:
    """One malformed beginning of a connection."""
    draw = random.Random(number)
    kind = draw.choice(["bytes"] * 5 + ["request"] * 2 + ["hello"] * 2 + ["stranger"])
    source = (f"127.0.2.{1 + number % 100}", 0)
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 20, source) as plain,
    ):
        if kind == "stranger":
            context = outer_context(keys, None)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                tls.sendall(malformed(draw))
                tls.recv(100)
            return kind
        if kind == "hello":
            plain.sendall(b"\x16\x03\x01" + draw.randbytes(draw.randint(1, 600)))
        elif kind == "request":
            plain.sendall(malformed(draw))
        else:
            plain.sendall(draw.randbytes(draw.randint(1, 600)))
        if draw.random() < 0.5:
            plain.shutdown(socket.SHUT_WR)
            plain.recv(100)
    return kind


def fuzz_within(port: int, keys: Path, number: int) -> list[str]:
    """Twenty malformed requests of a station; it connects anew when it is cut off."""
    draw, given = random.Random(-1 - number), list[str]()
    while len(given) < 20:
        with (
            contextlib.suppress(OSError, AssertionError),
            through(keys, port, "other", source="127.0.0.9", seconds=20) as there,
        ):
            while len(given) < 20:
                given.append("cut off")
                there.sendall(malformed(draw))
                there.outer.settimeout(0.5)
                given[-1] = str(read_answer(there)[0])
    return given


def malformed(draw: random.Random) -> bytes:
    """A request that is wrong somewhere."""
    whole = bytearray(
        post("/v1/fleet/" + draw.choice(["../control/x", "%2e%2e/x", "Pull", "a//b", "a?b", ""]))
    )
    for _ in range(draw.randint(0, 8)):
        place = draw.randrange(len(whole))
        whole[place : place + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
    if draw.random() < 0.2:
        whole += draw.randbytes(draw.randint(1, 5000))
    return bytes(whole)


def main(kind: str, port: int, keys: Path) -> Counter[object]:
    """Attack, and count what came of it."""
    if kind == "idle":
        return Counter([idle(port)])
    if kind == "fuzz":
        outside = by_threads(REQUESTS * 4 // 5, lambda number: fuzz(port, keys, number))
        within = by_threads(REQUESTS // 5 // 20, lambda number: fuzz_within(port, keys, number))
        return Counter(outside) + Counter(one for many in within for one in many)  # type: ignore[attr-defined]
    one = upload_without if kind == "without" else upload_with
    return Counter(by_threads(UPLOADS, lambda number: one(port, keys, number), UPLOADS))


if __name__ == "__main__":
    os.nice(10)
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
