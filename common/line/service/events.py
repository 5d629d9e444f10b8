"""Who wants to know at once: a bounded number of listeners, a bounded number of events for each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from common.line.service.bounds import Bounds, NotNow

_SIGN_OF_LIFE: Final = 15.0
_LOOK: Final = 0.5


class Events:
    """Hands events to listeners; `publish` may be called by any thread."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._listeners: set[asyncio.Queue[bytes | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Tell all listeners; one that is too slow is cut off and must connect again."""
        loop = self._loop
        if loop is None or loop.is_closed() or not self._listeners:
            return
        line = f"event: {kind}\ndata: {json.dumps(content)}\n\n".encode()
        try:
            loop.call_soon_threadsafe(self._hand_out, line)
        except RuntimeError:
            return  # the loop has ended meanwhile

    def end(self) -> None:
        """Let every stream end within half a second."""
        self._ended = True

    def listen(self) -> AsyncIterator[bytes]:
        """Open a stream.

        Raises
        ------
        NotNow
            If as many listen as may.
        """
        if len(self._listeners) >= self.bounds.listeners:
            raise NotNow(f"{len(self._listeners)} listeners are connected; none more may", 30)
        self._loop = asyncio.get_running_loop()
        own: asyncio.Queue[bytes | None] = asyncio.Queue(self.bounds.backlog + 1)
        self._listeners.add(own)
        return self._stream(own)

    async def _stream(self, own: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        quiet = 0.0
        try:
            yield b"retry: 3000\n\n"
            while not self._ended:
                try:
                    line = await asyncio.wait_for(own.get(), _LOOK)
                except TimeoutError:
                    quiet += _LOOK
                    if quiet >= _SIGN_OF_LIFE:
                        quiet = 0.0
                        yield b": still here\n\n"
                    continue
                if line is None:
                    return
                quiet = 0.0
                yield line
        finally:
            self._listeners.discard(own)

    def _hand_out(self, line: bytes) -> None:
        for own in list(self._listeners):
            if own.qsize() < self.bounds.backlog:
                own.put_nowait(line)
            else:
                self._listeners.discard(own)
                own.put_nowait(None)
