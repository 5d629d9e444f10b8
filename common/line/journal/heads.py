"""Signed heads: the end of the chain at a moment, in the database and in a file beside it."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from common.line.journal.chain import Chain, canonical
from common.line.journal.rows import Head
from common.line.journal.times import now
from common.patchcore.model_folder import sync_folder
from common.system.files import naming

HEADS: Final = "heads.jsonl"
BESIDE: Final = "export beside the writer"
"""Why of a head that stands in the file alone: who signed it may not write the database."""
LONGEST_LINE: Final = 4096
_PURPOSE: Final = b"fedpatchcore journal head\n"
"""In front of what is signed: the station's key signs other things as well."""


@dataclass(frozen=True)
class Signer:
    """Who signs the heads of a journal.

    Attributes
    ----------
    key : str
        Fingerprint of the public key, as `ssh-keygen -l` prints it.
    sign : callable of bytes to bytes
        ECDSA over SHA-384, DER. `common.plant.keys.journal_keys.head_signer` makes one of a
        station's key file.
    """

    key: str
    sign: Callable[[bytes], bytes]


def signed_bytes(journal_id: str, head: Head) -> bytes:
    """What is signed of a head: everything but key and signature, and whose it is."""
    return _PURPOSE + canonical([journal_id, head.seq, head.hash, head.signed_at, head.why])


def make_head(chain: Chain, why: str, signer: Signer | None) -> Head:
    """Sign the end of the chain; without a signer the head says that nobody did."""
    head = Head(chain.seq, chain.hash.hex(), now(), why)
    if signer is None:
        return head
    signature = base64.b64encode(signer.sign(signed_bytes(chain.journal_id, head))).decode()
    return Head(head.seq, head.hash, head.signed_at, why, signer.key, signature)


def head_line(journal_id: str, head: Head) -> bytes:
    """A head as a line of the file."""
    return canonical({"journal": journal_id, **vars(head)}) + b"\n"


def head_fields(head: Head) -> dict[str, Any]:
    """A head as a row of the database."""
    return {
        "signed_at": head.signed_at,
        "head_seq": head.seq,
        "head_hash": head.hash,
        "why": head.why,
        "key": head.key,
        "signature": head.signature,
    }


def parse_line(line: bytes) -> tuple[str, Head]:
    """Read a line of the file: whose it is, and the head.

    Raises
    ------
    ValueError
        If it is no such line, byte for byte.
    """
    try:
        facts = json.loads(line)
        journal_id = facts.pop("journal")
        head = Head(**facts)
        same = isinstance(journal_id, str) and head_line(journal_id, head) == line
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"is no head ({type(error).__name__})") from error
    if not same or not _is_head(head):
        raise ValueError("is no head as this program writes it")
    return journal_id, head


def _is_head(head: Head) -> bool:
    texts = (head.hash, head.signed_at, head.why, head.key, head.signature)
    number = isinstance(head.seq, int) and not isinstance(head.seq, bool)
    return number and all(isinstance(text, str) for text in texts)


@contextlib.contextmanager
def writing_heads(folder: Path) -> Iterator[BinaryIO]:
    """Hold the file of heads alone; half a line that a crash left is gone from its end.

    Whoever looks at file and database together waits meanwhile: both have a head, or none has.
    """
    path = folder / HEADS
    with naming(path), path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            sync_folder(folder)
        file.seek(max(0, size - LONGEST_LINE))
        tail = file.read()
        if half := len(tail) - (tail.rfind(b"\n") + 1):
            file.truncate(size - half)
        yield file


def add_line(file: BinaryIO, line: bytes) -> int:
    """Append a line durably; returns where the file ended before."""
    end = file.seek(0, os.SEEK_END)
    file.write(line)
    file.flush()
    os.fsync(file.fileno())
    return end


def last_head(file: BinaryIO) -> tuple[str, Head] | None:
    """The last line of the file; None if it has none, or one that cannot be read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LONGEST_LINE))
    lines = file.read().splitlines(keepends=True)
    with contextlib.suppress(ValueError):
        return parse_line(lines[-1]) if lines else None
    return None
