"""One SuperNode process of a station: how it is started, listened to and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from common.plant.app.programs import SUPERNODE, own_program
from common.plant.station.station_file import StationFile
from common.plant.station.supernode_log import SuperNodeLog
from common.runs.processes import (
    adopt_orphans,
    children_of,
    end_with_parent,
    flower_environment,
    free_ports,
)

PIECE: Final = 64 * 1024
LONGEST_LINE: Final = 1 << 20
END_SECONDS: Final = 6.0
"""A SuperNode says goodbye to the server and ends itself within 5 s."""
_KILL_SECONDS: Final = 1.0


class SuperNode:
    """A running `flower-supernode` with everything below it, in a session of its own.

    Attributes
    ----------
    log : SuperNodeLog
        What its output has told.
    started : float
        `time.monotonic()` of its start.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log = SuperNodeLog()
        self.started = time.monotonic()
        self._listening = asyncio.ensure_future(self._listen())

    @classmethod
    async def start(
        cls, file: StationFile, relay_port: int, program: Sequence[str] | None = None
    ) -> Self:
        """Start a SuperNode that reaches the server by a relay on this machine.

        Parameters
        ----------
        file : StationFile
        relay_port : int
            Port of the relay on 127.0.0.1.
        program : sequence of str, optional
            In place of our own, which runs `flower-supernode` with a guard: only apps that
            `trusted-app` allows.

        Raises
        ------
        OSError
            If the program cannot be started.
        """
        adopt_orphans()
        process = await asyncio.create_subprocess_exec(
            *(program or own_program(SUPERNODE, file.trusted_app)),
            f"--superlink=127.0.0.1:{relay_port}",
            f"--root-certificates={file.ca}",
            f"--auth-supernode-private-key={file.key}",
            f"--node-config={file.node_config()}",
            "--host=127.0.0.1",
            f"--port={free_ports(1)[0]}",
            env=_environment(file.cache_dir),
            cwd=file.cache_dir,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        return cls(process)

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Wait for its end; negative for the signal that killed it."""
        code = await self._process.wait()
        # Its last words may still be in the pipe, which a child of its own may keep open.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._listening), 1.0)
        return code

    async def end(self, patience: float = END_SECONDS) -> None:
        """End it and all that it started, also what left its session; at most `patience` + 2 s."""
        if not self.ended:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), patience)
        self._signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _KILL_SECONDS)
        until = time.monotonic() + _KILL_SECONDS
        while self._kill_orphans() and time.monotonic() < until:
            await asyncio.sleep(0.05)
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    def bury_orphans(self) -> None:
        """Take note of the ends of processes that its own have left behind."""
        for pid in children_of(os.getpid()) - {self._process.pid}:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def _kill_orphans(self) -> bool:
        """Kill what came to this process when its parent ended; False if nothing is left."""
        self.bury_orphans()
        left = children_of(os.getpid()) - {self._process.pid}
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(left)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def _listen(self) -> None:
        """Pass its output on, line by line."""
        stream = self._process.stdout
        rest = b""
        while stream is not None and (piece := await stream.read(PIECE)):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                text = line.decode("utf-8", "replace")
                self.log.hear(text, time.monotonic())
                print(text, file=sys.stdout)
            sys.stdout.flush()


def _environment(cache: Path) -> dict[str, str]:
    """Flower's environment with every private folder below the cache.

    A station's container has a read-only file system and may know no user and no home.
    """
    home = os.environ.get("HOME", "")
    environment = flower_environment(cache / "flower")
    if not home or not os.access(home, os.W_OK):
        environment["HOME"] = str(cache / "home")
    environment.setdefault("NUMBA_CACHE_DIR", str(cache / "numba"))
    environment.setdefault("MPLCONFIGDIR", str(cache / "matplotlib"))
    for name in ("flower", "home", "numba", "matplotlib"):
        (cache / name).mkdir(mode=0o700, exist_ok=True)
    return environment
