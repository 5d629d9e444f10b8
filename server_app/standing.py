"""How a plant's run stands, told in its `run.json` from the first second to whatever end."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

from flwr.common import log

from common.errors import reason
from common.paths import json_text
from common.runs.processes import END_SIGNALS
from common.runs.record import RunRecord
from common.runs.unfinished import RUN_FILE, STOPPED, held, what_is_lost, where
from common.system.files import write_whole
from server_app.outcome import Outcome
from server_app.run_end import cause_of_end

WAIT: Final = "wait for the stations"


class Standing:
    """Holds the folder of a run and keeps its record young.

    Parameters
    ----------
    folder : Path
        Where the run will be written; made.
    outcome : Outcome
        Its `progress` is kept here.
    record : callable () -> RunRecord
        The run as it is known by now.

    Notes
    -----
    A signal that ends the process ends the run's record, too: `stopped`, by whom and at which
    step. While the final files are written it waits for them.
    """

    def __init__(self, folder: Path, outcome: Outcome, record: Callable[[], RunRecord]) -> None:
        self._folder, self._outcome, self._record = folder, outcome, record
        self._stations: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, int] = {}
        self._before: dict[signal.Signals, Any] = {}
        self._closing = self._closed = self._complained = False
        self._signal: tuple[int, FrameType | None] | None = None
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.enter_context(held(self._folder))
        # Not suppressed: where nothing can be written the stations need not work.
        self._begin(WAIT, None)
        self._write()
        if threading.current_thread() is threading.main_thread():
            for number in END_SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not self._closed:
            self._end("failed", f"the run's files could not be written: {reason(error)}")
        for number, before in self._before.items():
            signal.signal(number, before)
        self._lock.close()
        if self._signal is not None:
            self._pass_on(*self._signal)

    def step(self, name: str, server_round: int | None = None) -> None:
        """Tell that another step has begun, at which the server is by itself."""
        self._begin(name, server_round)
        self._tell()

    def asked(self, step: str, stations: Iterable[str], server_round: int | None) -> None:
        """Tell that stations have been asked; a station may be asked for several parts."""
        self._begin(step, server_round)
        self._pending.clear()
        for name in stations:
            self._pending[name] = self._pending.get(name, 0) + 1
            self._note(name, step, "asked")
        self._tell()

    def answered(self, name: str, failed: bool = False) -> None:
        """Tell that a station has answered, or that its answer will not come."""
        self._pending[name] = self._pending.get(name, 1) - 1
        if failed or self._pending[name] <= 0:
            before = self._stations.get(name, {})
            state = "failed" if failed else "answered"
            self._note(name, str(before.get("step", "")), state, before.get("since"))
            self._tell()

    @contextlib.contextmanager
    def writing(self, *, failed: bool) -> Iterator[None]:
        """Write the final files in here: a signal waits for them.

        A failed run goes on telling at which step it failed.
        """
        if not failed:
            self.step("write")
        self._closing = True
        yield
        self._closed = True

    def cause(self) -> str | None:
        """Say who ended the run from outside, if somebody did."""
        return cause_of_end(self._folder.name)

    def _begin(self, step: str, server_round: int | None) -> None:
        now = _now()
        self._outcome.progress = {
            "step": step,
            "round": server_round,
            "since": now,
            "updated": now,
            "stations": list(self._stations.values()),
        }

    def _note(self, name: str, step: str, state: str, asked: str | None = None) -> None:
        now = datetime.now(UTC)
        took = None if asked is None else (now - datetime.fromisoformat(asked)).total_seconds()
        self._stations[name] = {
            "name": name,
            "step": step,
            "state": state,
            "since": _now(now),
            "seconds": None if took is None else round(took, 3),
        }
        if self._outcome.progress is not None:
            listed = sorted(self._stations.values(), key=lambda one: str(one["name"]))
            self._outcome.progress.update(stations=listed, updated=_now(now))

    def _tell(self) -> None:
        """Renew the record; a disk that is full for a while must not cost the run."""
        if self._closed:
            return
        try:
            self._write()
        except OSError as error:
            if not self._complained:
                log(logging.WARNING, "the run's record cannot be renewed: %s", reason(error))
            self._complained = True

    def _write(self) -> None:
        write_whole(self._folder / RUN_FILE, json_text(self._record().to_json()) + "\n")

    def _end(self, status: str, error: str) -> None:
        """Write how the run ended where its own files could not be."""
        record = self._record()
        record.status, record.error = status, error
        with contextlib.suppress(OSError, ValueError):
            write_whole(self._folder / RUN_FILE, json_text(record.to_json()) + "\n")
            self._closed = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._closing and not self._closed:
            self._signal = number, frame
            return
        if not self._closed:
            cause = None if number == signal.SIGTERM else self.cause()
            told = cause or "by the end of the server's executor"
            at = where({"progress": self._outcome.progress})
            self._end(STOPPED, f"stopped {told} at {at}. {what_is_lost(self._folder.name)}")
        self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Let Flower say goodbye and end the process."""
        before = self._before.get(signal.Signals(number))
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            raise KeyboardInterrupt


def _now(moment: datetime | None = None) -> str:
    return (moment or datetime.now(UTC)).isoformat(timespec="milliseconds")
