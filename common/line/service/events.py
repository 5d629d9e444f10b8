"""Who wants to know at once: a bounded number of listeners, each of which reads the journal.

An event's id is its row's number, so that a listener who was away goes on behind the last one that
he has seen: `Last-Event-ID` as a browser sends it, or `after`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

from common.line.journal import Entry, JournalReader, Review, Switch, ThresholdChange
from common.line.service.bounds import Bounds, NotNow
from common.line.service.entries import entry_json

_SIGN_OF_LIFE: Final = 15.0
_LOOK: Final = 0.5
_PAGE: Final = 64
"""Rows that are read at once: what waits for a slow listener waits in the journal."""
_NOTES: Final = 16


@dataclass(eq=False)
class _Listener:
    news: asyncio.Event = field(default_factory=asyncio.Event)
    noted: int = 0


class Events:
    """Hands what is in the journal to listeners; `publish` and `note` may be called by any thread.

    Parameters
    ----------
    bounds : Bounds
    journal : JournalReader
    sign_of_life : float
        Seconds of silence after which a comment is sent, so that nobody on the way hangs up.
    """

    def __init__(
        self, bounds: Bounds, journal: JournalReader, sign_of_life: float = _SIGN_OF_LIFE
    ) -> None:
        self.bounds, self._journal, self._sign_of_life = bounds, journal, sign_of_life
        self._listeners: set[_Listener] = set()
        self._notes: deque[tuple[int, bytes]] = deque(maxlen=_NOTES)
        self._last_note = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._ended = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def publish(self) -> None:
        """Tell all listeners that there is a new row."""
        loop = self._loop
        if loop is None or loop.is_closed() or not self._listeners:
            return
        try:
            loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            return  # the loop has ended meanwhile

    def note(self, kind: str, content: dict[str, Any]) -> None:
        """Tell those who listen now what is no row, as why a model could not be loaded."""
        self._last_note += 1
        self._notes.append((self._last_note, _line(kind, content)))
        self.publish()

    def end(self) -> None:
        """Let every stream end within half a second."""
        self._ended = True

    async def listen(self, after: int | None = None) -> AsyncIterator[bytes]:
        """Open a stream.

        Parameters
        ----------
        after : int, optional
            Id of the last event that the listener knows; without, it hears what comes from now on.

        Raises
        ------
        NotNow
            If as many listen as may.
        """
        if len(self._listeners) >= self.bounds.listeners:
            raise NotNow(f"{len(self._listeners)} listeners are connected; none more may", 30)
        self._loop = asyncio.get_running_loop()
        own = _Listener(noted=self._last_note)
        self._listeners.add(own)
        try:
            if after is None:
                after = await self._loop.run_in_executor(self._readers, self._journal.end)
        except BaseException:
            self._listeners.discard(own)
            raise
        return self._stream(own, after)

    async def _stream(self, own: _Listener, last: int) -> AsyncIterator[bytes]:
        quiet, loop = 0.0, asyncio.get_running_loop()
        own.news.set()
        try:
            yield b"retry: 3000\n\n"
            while not self._ended:
                try:
                    await asyncio.wait_for(own.news.wait(), _LOOK)
                except TimeoutError:
                    quiet += _LOOK
                    if quiet >= self._sign_of_life:
                        quiet = 0.0
                        yield b": still here\n\n"
                    continue
                own.news.clear()  # before it is read: what comes meanwhile sets it again
                rows = await loop.run_in_executor(self._readers, self._journal.news, last, _PAGE)
                for row in rows:
                    quiet, last = 0.0, row.id
                    yield event_line(row)
                for number, line in list(self._notes):
                    if number > own.noted:
                        quiet, own.noted = 0.0, number
                        yield line
                if len(rows) == _PAGE:
                    own.news.set()
        finally:
            self._listeners.discard(own)

    def _wake(self) -> None:
        for own in self._listeners:
            own.news.set()


def event_line(row: Entry | Review | Switch | ThresholdChange) -> bytes:
    """A row as a server-sent event: `part`, `review`, `model` or `threshold`.

    Parameters
    ----------
    row : Entry, Review, Switch or ThresholdChange
    """
    if isinstance(row, Entry):  # a review has its own event, now and for who comes later
        return _line("part", entry_json(replace(row, review=None)), row.id)
    if isinstance(row, Review):
        return _line("review", vars(row), row.id)
    if isinstance(row, Switch):
        facts = {"run_id": row.run_id, "sha256": row.model_sha256, "by": row.by, "why": row.why}
        return _line("model", {**facts, "switched_at": row.switched_at}, row.id)
    return _line("threshold", vars(row), row.id)


def _line(kind: str, content: dict[str, Any], id: int | None = None) -> bytes:
    place = "" if id is None else f"id: {id}\n"
    return f"event: {kind}\n{place}data: {json.dumps(content)}\n\n".encode()
