"""One running nginx: started, listened to, told to change, ended."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from common.errors import RunError
from common.plant.gateway.nginx_program import Nginx
from common.plant.gateway.nginx_terms import PID_FILE
from common.runs.processes import end_with_parent

START_SECONDS: Final = 20.0
KILLED_SECONDS: Final = 1.0
SOCKETS: Final = 65_536
_PIPE_BYTES: Final = 1 << 20
_PIECE: Final = 64 * 1024
_F_SETPIPE_SZ: Final = 1031


class NginxProcess:
    """An nginx in the folder of its configuration; use `start`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        folder: Path,
        reading: int,
        hear: Callable[[str], None],
    ) -> None:
        self._process, self._folder = process, folder
        self._listening = asyncio.ensure_future(self._listen(reading, hear))

    @classmethod
    async def start(cls, nginx: Nginx, folder: Path, hear: Callable[[str], None]) -> Self:
        """Start it; `hear` is given every line that it writes.

        Raises
        ------
        RunError
            If it cannot be started.
        """
        (folder / PID_FILE).unlink(missing_ok=True)  # the trial has made an empty one
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE_BYTES)
        try:
            process = await asyncio.create_subprocess_exec(
                *nginx.command(folder),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
                preexec_fn=_prepare,
            )
        except OSError as error:
            os.close(reading)
            raise RunError(f"{nginx.path} cannot be started ({error})") from error
        finally:
            os.close(writing)
        return cls(process, folder, reading, hear)

    async def open(self) -> None:
        """Wait until its sockets are open: then it writes the file of its id.

        Raises
        ------
        RunError
        """
        until = time.monotonic() + START_SECONDS
        while not (self._folder / PID_FILE).exists():
            if self._process.returncode is not None or time.monotonic() > until:
                raise RunError(f"nginx did not start within {START_SECONDS:.0f} s; see its lines")
            await asyncio.sleep(0.02)

    async def wait(self) -> int:
        """Wait for its end; negative for the signal that killed it."""
        return await self._process.wait()

    def reload(self) -> None:
        """Let it read its configuration again."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGHUP)

    async def end(self, drain: float) -> None:
        """End it: in good order, then at once, then by force; hear its last lines.

        Nothing of it is left: when its master was killed, its workers still hold the open port,
        and would serve there for ever what was true then.
        """
        try:
            for way, patience in ((signal.SIGQUIT, drain + 1), (signal.SIGTERM, 1.0)):
                if self._process.returncode is not None:
                    break
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(way)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), patience)
        finally:
            left = self._kill()
        until = time.monotonic() + KILLED_SECONDS
        while left and time.monotonic() < until:
            await asyncio.sleep(0.02)
            left = self._kill()
        await asyncio.wait({self._listening}, timeout=1.0)
        self._listening.cancel()

    def _kill(self) -> bool:
        """Kill everything in its session; whether there was something."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    async def _listen(self, reading: int, hear: Callable[[str], None]) -> None:
        """Pass its lines on, however fast they come: a full pipe would hold it up."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
        )
        rest = b""
        while piece := await stream.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-_PIECE:]
            for line in lines:
                hear(line.decode("utf-8", "replace"))
        transport.close()


def _prepare() -> None:
    """In the new process: end with its parent, and have sockets enough."""
    end_with_parent()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = SOCKETS if hard == resource.RLIM_INFINITY else min(SOCKETS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
