"""One digest of all that a message holds, which Flower's packing leaves as it is."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Final

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

_KINDS: Final[dict[type, str]] = {
    ArrayRecord: "arrays",
    ConfigRecord: "config",
    MetricRecord: "metrics",
}


def content_digest(content: RecordDict, known: dict[int, bytes] | None = None) -> bytes:
    """Digest of the records of a message: of their names, kinds, order and of all they hold.

    Parameters
    ----------
    content : RecordDict
        Of a message, without its seal.
    known : dict of id to digest, optional
        SHA-256 of bytes that were summed up before, by `id`; filled. For arrays that go out in
        several messages, whose bytes live as long as this.

    Returns
    -------
    bytes
        32 of them.

    Raises
    ------
    TypeError
        If a record or a value is of a kind that Flower does not send.

    Notes
    -----
    Every piece is written with its kind and its length before it, every record and list with its
    number of pieces, so that no two contents are written alike. Of an array these are name, dtype,
    shape, serialization and the SHA-256 of its bytes. 30 MB take about 20 ms.
    """
    written = _Writer()
    written.number(len(content))
    for name, record in content.items():
        kind = _KINDS.get(type(record))
        if kind is None:
            raise TypeError(f"a record of kind {type(record).__name__}")
        written.text(kind)
        written.text(name)
        written.number(len(record))
        for key, value in record.items():
            written.text(key)
            if isinstance(value, Array):
                written.text(value.dtype)
                written.text(json.dumps([int(side) for side in value.shape]))
                written.text(value.stype)
                written.piece("h", _sum_of(value.data, known))
            else:
                written.value(value)
    return written.digest()


def _sum_of(data: bytes, known: dict[int, bytes] | None) -> bytes:
    found = None if known is None else known.get(id(data))
    if found is None:
        found = hashlib.sha256(data).digest()
        if known is not None:
            known[id(data)] = found
    return found


class _Writer:
    """Sums pieces up; each is told apart from its neighbours and from pieces of another kind."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def piece(self, kind: str, data: bytes) -> None:
        self._sum.update(struct.pack(">cQ", kind.encode(), len(data)))
        self._sum.update(data)

    def number(self, count: int) -> None:
        self.piece("n", str(count).encode())

    def text(self, text: str) -> None:
        # Text from the network may hold half a surrogate pair.
        self.piece("s", text.encode("utf-8", "surrogatepass"))

    def value(self, value: object) -> None:
        """A number, a text, bytes, or a list of one of these: all that such records hold."""
        if isinstance(value, bool):
            self.piece("b", b"1" if value else b"0")
        elif isinstance(value, int):
            self.piece("i", str(value).encode())
        elif isinstance(value, float):
            self.piece("f", struct.pack(">d", value))
        elif isinstance(value, str):
            self.text(value)
        elif isinstance(value, bytes):
            self.piece("y", value)
        elif isinstance(value, Sequence):
            self.piece("l", str(len(value)).encode())
            for one in value:
                self.value(one)
        else:
            raise TypeError(f"a value of kind {type(value).__name__}")

    def digest(self) -> bytes:
        return self._sum.digest()
