"""The threads in which the operations do what takes time, so that the others are answered."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from starlette.exceptions import HTTPException

from common.line.service.bounds import NotNow
from common.line.service.service import Service

Done = TypeVar("Done")
_READERS: Final = 4
"""Threads that look into the journal."""
_CHANGE_AGAIN: Final = 30
"""Seconds after which another change of the model is worth a try."""
_ONLY_READ: Final = (errno.EROFS, errno.EACCES, errno.EPERM)


class Missing(Exception):
    """There is no such thing; its text is the answer."""


class Work:
    """Threads of their own for parts, for questions, and for a change of the model.

    Parameters
    ----------
    service : Service
    """

    def __init__(self, service: Service) -> None:
        self._parts = ThreadPoolExecutor(service.bounds.places, thread_name_prefix="part")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="change")
        self._changing = False

    async def judge(self, work: Callable[[], Done]) -> Done:
        """Do what a place is held for."""
        return await asyncio.get_running_loop().run_in_executor(self._parts, work)

    async def ask(self, work: Callable[[], Done]) -> Done:
        """Look something up, or write a row."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def change(self, work: Callable[[], Done]) -> Done:
        """Change the model: one at a time, as a test of minutes may belong to it.

        Raises
        ------
        NotNow
            While another change is made.
        HTTPException
            409 where this service may only read its station's models.
        """
        if self._changing:
            raise NotNow("another change of the model is being made", _CHANGE_AGAIN)
        self._changing = True
        loop = asyncio.get_running_loop()

        def whole() -> Done:
            try:
                return work()
            finally:  # also where nobody waits for the answer any more
                loop.call_soon_threadsafe(self._done)

        try:
            return await loop.run_in_executor(self._changes, whole)
        except OSError as error:
            if error.errno not in _ONLY_READ:
                raise
            raise HTTPException(
                409,
                "this service may only read its station's models; make the change at the station "
                "with `fedpatchcore models` or `fedpatchcore threshold`",
            ) from error

    def _done(self) -> None:
        self._changing = False
