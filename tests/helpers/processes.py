"""Processes that a test starts: found again by a mark in their environment, ended by their id."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MARK = "FEDPATCHCORE_TEST_MARK"


def marked(mark: str) -> dict[int, str]:
    """Living processes that inherited this mark: id -> command line."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = b" ".join(words).decode(errors="replace")
    return found


def wait_for(what: str, done: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come true within {seconds:.0f} s")
        time.sleep(0.3)


def _own_ports() -> Iterator[int]:
    """Ports below those that the kernel hands out, a thousand for each of pytest's processes."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12
    first = os.getpid() % 1000
    for number in itertools.count(first):
        yield 20_000 + 1_000 * worker + number % 1000


_PORTS = _own_ports()


def free_port() -> int:
    """A port that nobody listens at, and that no test side by side with this one is given."""
    for port in itertools.islice(_PORTS, 1000):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port of this process's own thousand is free")


@contextlib.contextmanager
def started(
    command: list[str], log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own, and end the whole session at last."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], way: int = signal.SIGTERM) -> None:
    """End a process and whatever it started in its session."""
    for signum, patience in ((way, 10.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
