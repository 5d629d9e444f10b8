"""A station's own watchman: it keeps one SuperNode running and served, and says what it does."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError, RunError
from common.plant.station.gateway_tls import GatewayTls
from common.plant.station.relay import Relay
from common.plant.station.station_file import StationFile
from common.plant.station.supernode import END_SECONDS, SuperNode

ALIVE: Final = "alive"
LOCK: Final = "station.lock"
_LOG: Final = logging.getLogger("fedpatchcore.station")


@dataclass(frozen=True)
class Timing:
    """Seconds that the launcher waits.

    Attributes
    ----------
    silent : float
        A SuperNode that sends nothing for so long is no longer working. One that works sends
        something every 3 s, and a heartbeat every 17.5 to 22.5 s while it waits for its own
        ClientApp, whatever that computes (flwr 1.41); while it cannot reach the server, it
        tries at least every 20 s.
    start : float
        The same for its first word: a machine that is slow or busy takes long to start it.
    contact : float
        How old the server's last answer may be for the station to count as alive.
    first_wait, longest_wait : float
        Before a SuperNode is started again: the first time, and at most after doubling.
    settled : float
        A SuperNode that has lived so long starts the doubling anew.
    tick : float
        Between two looks at it.
    end : float
        For a SuperNode that is told to end, before it is killed.
    """

    silent: float = 120.0
    start: float = 300.0
    contact: float = 90.0
    first_wait: float = 5.0
    longest_wait: float = 60.0
    settled: float = 600.0
    tick: float = 5.0
    end: float = END_SECONDS


def run_station(
    file: StationFile, timing: Timing | None = None, program: Sequence[str] | None = None
) -> None:
    """Keep a SuperNode running until SIGTERM or SIGINT; then end everything within 10 s.

    Parameters
    ----------
    file : StationFile
    timing : Timing, optional
    program : sequence of str, optional
        In place of our own SuperNode.

    Raises
    ------
    InputError
        If the data folder, the key, the authority's certificate or the cache cannot be used.
    RunError
        If another launcher works with the same cache.
    """
    file.require_files()
    for key, path in file.server_files().items():
        if not os.access(path, os.R_OK):
            raise InputError(
                f"{file.path}: {key} is {path}, which this user (id {os.getuid()}) may not read; "
                "let it belong to the user that runs the station"
            )
    with _alone(file):
        asyncio.run(_Launcher(file, timing or Timing(), program).run())


class _Launcher:
    """The loop of one station."""

    def __init__(self, file: StationFile, timing: Timing, program: Sequence[str] | None) -> None:
        self._file, self._timing, self._program = file, timing, program
        self._alive = file.cache_dir / ALIVE
        self._told_to_end = asyncio.Event()
        tls = GatewayTls(file.ca, file.certificate)
        tls.context()  # what cannot be used at all is said before anything starts
        self._relay = Relay(file.address, tls, self._note_unreachable, self._note_reachable)
        self._served = False

    async def run(self) -> None:
        """Start, watch and start again, until told to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end.set)
        self._alive.unlink(missing_ok=True)
        await self._relay.start()
        try:
            wait = self._timing.first_wait
            while not self._told_to_end.is_set():
                started = time.monotonic()
                reason = await self._run_one()
                if self._told_to_end.is_set():
                    break
                if time.monotonic() - started >= self._timing.settled:
                    wait = self._timing.first_wait
                _LOG.warning("%s; starting it again in %.0f s", reason, wait)
                await self._pause(wait)
                wait = min(2 * wait, self._timing.longest_wait)
        finally:
            self._alive.unlink(missing_ok=True)
            await self._relay.close()
        _LOG.info("station ended")

    async def _run_one(self) -> str:
        """Run one SuperNode to its end and say why it ended."""
        self._relay.forget()
        self._served = False
        try:
            node = await SuperNode.start(self._file, self._relay.port, self._program)
        except OSError as error:
            return f"the SuperNode could not be started ({error})"
        _LOG.info("SuperNode started for %s:%d", *self._file.address)
        try:
            return await self._watch(node)
        finally:
            await node.end(self._timing.end)

    async def _watch(self, node: SuperNode) -> str:
        ending = asyncio.ensure_future(node.wait())
        telling = asyncio.ensure_future(self._told_to_end.wait())
        judged_from = looked = node.started
        try:
            while True:
                done, _ = await asyncio.wait(
                    {ending, telling}, timeout=self._timing.tick, return_when="FIRST_COMPLETED"
                )
                if telling in done:
                    return "told to end"
                if ending in done:
                    return _why(node, ending.result())
                now = time.monotonic()
                if now - looked > 3 * self._timing.tick:
                    # This process was stopped (a container paused): so was the SuperNode.
                    judged_from = now
                looked = now
                if reason := self._silence(now, judged_from):
                    return reason
                if node.log.not_bound:
                    return node.log.reason
                if node.log.heartbeat_broken:
                    return (
                        "the SuperNode's heartbeat broke, so the server counts it as offline; "
                        "it is ended"
                    )
                node.bury_orphans()
                self._note_contact(node, now)
        finally:
            for task in (ending, telling):
                task.cancel()

    def _silence(self, now: float, judged_from: float) -> str:
        """Say that the SuperNode has been silent for too long, or nothing."""
        sent = self._relay.last_sent
        silent = now - max(judged_from, sent or 0.0)
        if sent is None and silent > self._timing.start:
            return f"the SuperNode has not turned to the server within {silent:.0f} s, and is ended"
        if sent is not None and silent > self._timing.silent:
            return (
                f"the SuperNode has sent nothing for {silent:.0f} s: it runs but works no longer "
                "(after an error that the server gave it), and is ended"
            )
        return ""

    def _note_contact(self, node: SuperNode, now: float) -> None:
        """Touch the file of health checks while the server serves this station."""
        answer, failing = self._relay.last_answer, node.log.failing_since
        fresh = answer is not None and now - answer <= self._timing.contact
        failed = failing is not None and now - failing > self._timing.contact
        served = node.log.online and fresh and not failed
        if served:
            with contextlib.suppress(OSError):  # a full disk must not end the station
                self._alive.touch()
        if served != self._served:
            self._served = served
            if served:
                _LOG.info("the server has taken this station")
            else:
                _LOG.warning("no answer from the server for %.0f s", self._timing.contact)

    def _note_unreachable(self, reason: str) -> None:
        place = "{}:{}".format(*self._file.address)
        _LOG.warning("the gateway %s cannot be reached (%s); trying on", place, reason)

    def _note_reachable(self) -> None:
        _LOG.info("the gateway can be reached again")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._told_to_end.wait(), seconds)


def _why(node: SuperNode, code: int) -> str:
    if node.log.reason:
        return f"the SuperNode ended: {node.log.reason}"
    if code < 0:
        return f"the SuperNode was killed by signal {-code} ({signal.Signals(-code).name})"
    if code == 0:
        return (
            "the SuperNode ended itself because the server no longer knows its key (answer 401): "
            "it was unregistered, or this machine's clock differs from the server's by minutes"
        )
    return f"the SuperNode ended with exit code {code}; its last lines above say why"


@contextlib.contextmanager
def _alone(file: StationFile) -> Iterator[None]:
    """Hold the cache folder for this launcher alone."""
    path = file.cache_dir / LOCK
    try:
        file.cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = path.open("a+", encoding="ascii")
    except OSError as error:
        raise InputError(
            f"{file.path}: cache-dir is {file.cache_dir}, which cannot be written "
            f"({error.strerror or error}); give a folder that belongs to user id {os.getuid()}"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{file.cache_dir}: a station is running with this cache already, as process "
                f"{_holder(path)}; two stations need two folders"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip() or "?"
    return "?"
