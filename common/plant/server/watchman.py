"""The executor's watchman: it keeps Flower's SuperExec running, and no run ends without a record.

Flower's SuperExec ends at the first 500 of a SuperLink whose database is locked for a moment, and
every ServerApp that it started ends with it, because it looks whether its parent is still there.
A process that has ended and that nobody has taken note of is still there: while a ServerApp
works, this takes no note of the end of its SuperExec, and starts another one beside it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from common.errors import RunError
from common.plant.server.daemons import Daemon
from common.runs.processes import END_SIGNALS, adopt_orphans, children_of, end_with_parent
from common.runs.unfinished import settle_all

_LOG: Final = logging.getLogger("fedpatchcore.executor")


@dataclass(frozen=True)
class Pauses:
    """Seconds that the watchman waits.

    Attributes
    ----------
    first, longest : float
        Before a SuperExec is started again: the first time, and at most after doubling.
    settled : float
        One that has lived so long starts the doubling anew.
    tick : float
        Between two looks at the processes, and at the folder of runs.
    end : float
        For all that is told to end, before it is killed. A ServerApp writes its record meanwhile.
    kill : float
        For the system to be done with what was killed.
    """

    first: float = 1.0
    longest: float = 60.0
    settled: float = 600.0
    tick: float = 1.0
    end: float = 7.0
    kill: float = 1.0


def watch(daemon: Daemon, runs: Path, pauses: Pauses | None = None) -> None:
    """Keep a SuperExec running until SIGTERM or SIGINT; then end everything within 10 s.

    Parameters
    ----------
    daemon : Daemon
        The SuperExec.
    runs : Path
        The folder that its ServerApps write to. Runs there that were killed get their record, at
        the start and while it lasts.
    pauses : Pauses, optional
    """
    adopt_orphans()
    told_to_end = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        told_to_end.set()

    before = {number: signal.signal(number, on_signal) for number in END_SIGNALS}
    try:
        _Watchman(daemon, runs, pauses or Pauses(), told_to_end).run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Watchman:
    """The loop of one executor."""

    def __init__(
        self, daemon: Daemon, runs: Path, pauses: Pauses, told_to_end: threading.Event
    ) -> None:
        self._daemon, self._runs, self._pauses = daemon, runs, pauses
        self._told_to_end = told_to_end
        self._strangers = children_of(os.getpid())
        self._current: subprocess.Popen[bytes] | None = None
        self._ended: list[subprocess.Popen[bytes]] = []
        self._known: set[str] = set()

    def run(self) -> None:
        """Start, watch and start again, until told to end."""
        wait = self._pauses.first
        self._settle()
        try:
            while not self._told_to_end.is_set():
                started = time.monotonic()
                self._start()
                reason = self._watch()
                if self._told_to_end.is_set():
                    break
                if time.monotonic() - started >= self._pauses.settled:
                    wait = self._pauses.first
                _LOG.warning("%s; starting it again in %.0f s", reason, wait)
                self._pause(wait)
                wait = min(2 * wait, self._pauses.longest)
        finally:
            self._end_all()
            self._settle()
        _LOG.info("executor ended")

    def _start(self) -> None:
        try:
            self._current = subprocess.Popen(
                self._daemon.command,
                env=self._daemon.environment,
                cwd=self._daemon.folder,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        except OSError as error:
            raise RunError(f"{self._daemon.command[0]} cannot be started ({error})") from error

    def _watch(self) -> str:
        """Wait for the end of the SuperExec, and say how it ended."""
        process = self._current
        while process is not None and not self._told_to_end.is_set():
            if (end := _how_it_ended(process.pid)) is not None:
                self._current = None
                self._ended.append(process)
                return end
            self._look()
            self._told_to_end.wait(self._pauses.tick)
        return "told to end"

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._told_to_end.wait(min(left, self._pauses.tick)):
                return
            self._look()

    def _look(self) -> None:
        """Take note of what ended, and see to the records of runs."""
        self._bury()
        if self._ended and not self._orphans():
            for process in self._ended:
                process.wait()
            self._ended.clear()
        self._settle()

    def _orphans(self) -> set[int]:
        """Children that are no SuperExec: the ServerApps of one that has ended."""
        own = {process.pid for process in self._ended}
        if self._current is not None:
            own.add(self._current.pid)
        return children_of(os.getpid()) - own - self._strangers

    def _settle(self) -> None:
        try:
            for run_id, record in settle_all(self._runs, self._known).items():
                _LOG.warning("run %s: %s", run_id, record.get("error"))
        except OSError as error:
            _LOG.warning("the folder of runs cannot be read (%s)", error)

    def _end_all(self) -> None:
        """End every SuperExec and all that they started; those have time to say goodbye."""
        processes = [*self._ended, *([self._current] if self._current else [])]
        for number, patience in (
            (signal.SIGTERM, self._pauses.end),
            (signal.SIGKILL, self._pauses.kill),
        ):
            for process in processes:
                _signal_session(process.pid, number)
            for pid in self._orphans():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            until = time.monotonic() + patience
            while self._any_alive(processes) and time.monotonic() < until:
                time.sleep(0.05)
        for process in processes:
            process.poll()

    def _any_alive(self, processes: list[subprocess.Popen[bytes]]) -> bool:
        self._bury()
        return any(_how_it_ended(process.pid) is None for process in processes) or bool(
            self._orphans()
        )

    def _bury(self) -> None:
        """Take note of the ends of ServerApps that outlived their SuperExec."""
        for pid in self._orphans():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _how_it_ended(pid: int) -> str | None:
    """Say how a child ended, without taking note of it; None while it lives."""
    found: Any = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    if found.si_code == os.CLD_EXITED:
        return (
            f"Flower's SuperExec ended with exit code {found.si_status} (its last lines above say "
            "why; 500 is a SuperLink that was busy); runs go on"
        )
    return f"Flower's SuperExec was killed by signal {found.si_status}; runs go on"


def _signal_session(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, number)
