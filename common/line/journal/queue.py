"""Many threads, one writer: whoever waits is written by the one whose turn it is, in one go."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from common.errors import FedPatchCoreError, InputError, RunError, explained
from common.line.journal.chain import Chain
from common.line.journal.schema import database_error

Result = TypeVar("Result")
Append = Callable[[str, dict[str, Any]], int]
"""Puts a row of a kind at the end of the chain and returns its place."""
Work = Callable[[Append], Result]


@dataclass
class _Waiting(Generic[Result]):
    work: Work[Result]
    result: Result | None = None
    error: Exception | None = None
    done: bool = field(default=False)


def _outcome(own: _Waiting[Result]) -> Result:
    if own.error is not None:
        raise own.error
    return cast(Result, own.result)


class WriteQueue:
    """Group commit: one transaction, and one wait for the disk, for all threads that wait.

    Parameters
    ----------
    connection : Connection
        Used by one thread at a time.
    path : Path
        Of the database, for messages.

    Attributes
    ----------
    turn : lock
        Held by who writes; for work that must see no other between its steps.
    chain : Chain
        Its end, as it is on disk; read it while holding `turn`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection, self.path = connection, path
        self.turn = threading.RLock()
        self.chain = Chain.read(connection)
        self._waiting: list[_Waiting[Any]] = []
        self._entering = threading.Condition()
        self._led = False
        self._closed = False

    def write(self, work: Work[Result]) -> Result:
        """Run work in a transaction; what it appended is durable on return.

        Parameters
        ----------
        work : callable of Append
            Checks everything before its first row. A `FedPatchCoreError` of it is its own affair;
            any other failure undoes what was written together with it.

        Raises
        ------
        InputError, RunError
            One line; nothing was written then.
        """
        own = _Waiting(work)
        with self._entering:
            self._waiting.append(own)
            while self._led and not own.done:
                self._entering.wait()
            leads = not own.done
            self._led = self._led or leads
        if leads:
            self._lead()
        return _outcome(own)

    def write_now(self, work: Work[Result]) -> Result:
        """Run work in a transaction of its own, as `write`; by who holds `turn`."""
        own = _Waiting(work)
        self._write_all([own])
        return _outcome(own)

    def close(self) -> None:
        """Write nothing more."""
        with self.turn:
            self._closed = True
            self.connection.close()

    def _lead(self) -> None:
        """Write for all that wait; who comes meanwhile is written by the next one."""
        try:
            with self.turn:
                with self._entering:
                    all_of_them, self._waiting = self._waiting, []
                self._write_all(all_of_them)
        finally:
            with self._entering:
                self._led = False
                self._entering.notify_all()

    def _write_all(self, waiting: list[_Waiting[Any]]) -> None:
        failure: Exception | None = None
        try:
            if self._closed:
                raise InputError(f"{self.path}: the journal is closed")
            self._transact(waiting)
        except FedPatchCoreError as error:
            failure = error
        except sqlite3.Error as error:
            failure = database_error(self.path, error)
        except OSError as error:
            failure = RunError(explained(error))
        except BaseException as error:
            failure = error if isinstance(error, Exception) else RunError("interrupted")
            if failure is not error:
                raise
        finally:
            for own in waiting:
                own.error = own.error or failure
                own.done = True

    def _transact(self, waiting: list[_Waiting[Any]]) -> None:
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for own in waiting:
                try:
                    own.result = own.work(self._append)
                except FedPatchCoreError as error:
                    own.error = error
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has undone a transaction that met a full disk by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self.chain = Chain.read(connection)
            raise

    def _append(self, kind: str, fields: dict[str, Any]) -> int:
        return self.chain.append(self.connection, kind, fields)
