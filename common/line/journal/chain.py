"""The hash chain: every row's hash covers the row before it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.line.journal.schema import COLUMNS

_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(content: Any) -> bytes:
    """One text of a value, the same for everybody: sorted keys, no spaces, ASCII, no NaN."""
    return _ENCODER.encode(content).encode("ascii")


def row_hash(previous: bytes, seq: int, kind: str, fields: Mapping[str, Any]) -> bytes:
    """Sha256 over a row and the hash of the row before.

    Parameters
    ----------
    previous : bytes
        32; of row 1 the journal's own, `first_hash`.
    seq : int
        Its place.
    kind : str
        Its table.
    fields : mapping of column to text, number or None
        All of its columns but `seq` and `hash` and, of a verdict, `reviewed`.
    """
    return hashlib.sha256(canonical([previous.hex(), seq, kind, fields])).digest()


def first_hash(journal_id: str, made_at: str) -> bytes:
    """What the first row's hash covers: no row of another journal fits."""
    return hashlib.sha256(canonical(["fedpatchcore journal", journal_id, made_at])).digest()


@dataclass
class Chain:
    """The end of the chain, and how a row is put there.

    Attributes
    ----------
    journal_id : str
    seq : int
        The last row; 0 if there is none.
    hash : bytes
        That row's.
    """

    journal_id: str
    seq: int
    hash: bytes

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Chain:
        """Find the end of a journal's chain."""
        journal_id, made_at = connection.execute("SELECT id, made_at FROM journal").fetchone()
        end = cls(journal_id, 0, first_hash(journal_id, made_at))
        for kind in COLUMNS:
            row = connection.execute(
                f"SELECT seq, hash FROM {kind} ORDER BY seq DESC LIMIT 1"
            ).fetchone()
            if row is not None and row[0] > end.seq:
                end.seq, end.hash = row
        return end

    def append(self, connection: sqlite3.Connection, kind: str, fields: Mapping[str, Any]) -> int:
        """Insert a row at the end, within the transaction that is open.

        Returns
        -------
        int
            Its place.
        """
        columns = COLUMNS[kind]
        digest = row_hash(self.hash, self.seq + 1, kind, fields)
        connection.execute(
            _INSERTS[kind], (self.seq + 1, *(fields[name] for name in columns), digest)
        )
        self.seq, self.hash = self.seq + 1, digest
        return self.seq


_INSERTS: Final = {
    kind: f"INSERT INTO {kind} (seq, {', '.join(columns)}, hash) "
    f"VALUES ({', '.join('?' * (len(columns) + 2))})"
    for kind, columns in COLUMNS.items()
}
