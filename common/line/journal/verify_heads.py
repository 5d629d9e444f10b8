"""Whether the signed heads, in the database and in the file beside it, are heads of this chain."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError, explained
from common.line.journal.findings import Findings
from common.line.journal.heads import (
    BESIDE,
    HEADS,
    LONGEST_LINE,
    head_fields,
    parse_line,
    signed_bytes,
)
from common.line.journal.rows import Head


@contextlib.contextmanager
def held_heads(folder: Path) -> Iterator[tuple[BinaryIO | None, int]]:
    """The file of heads and its size, while nobody appends to it; it stays open afterwards."""
    try:
        file = (folder / HEADS).open("rb")
    except FileNotFoundError:
        yield None, 0
        return
    except OSError as error:
        raise InputError(explained(error)) from error
    fcntl.flock(file, fcntl.LOCK_SH)
    try:
        yield file, file.seek(0, os.SEEK_END)
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
        file.seek(0)


class HeadChecks:
    """Compares the lines of the file with the chain, while that is read.

    Parameters
    ----------
    findings : Findings
    journal_id : str
    file : binary file or None
        Closed by `finish`.
    size : int
        How much of it belongs to the state of the database that is read.
    keys : sequence of public keys or None
    """

    def __init__(
        self,
        findings: Findings,
        journal_id: str,
        file: BinaryIO | None,
        size: int,
        keys: Sequence[ec.EllipticCurvePublicKey] | None,
    ) -> None:
        self.findings, self.journal_id, self.file, self.keys = findings, journal_id, file, keys
        self._lines = self._read(size)
        self._next = next(self._lines, None)
        self._here: list[Head] = []  # lines of the last row, of which the next one may tell
        self._signed = self._unsigned = 0

    def row(self, seq: int, digest: str, fields: Mapping[str, Any] | None) -> None:
        """Take in a row of the chain: its place, its hash, and what it says if it is a head."""
        if fields is not None:
            self._head_row(seq, fields)
        for head in self._here:
            self.findings.add("head missing", head.seq, _no_row(head))
        self._here = []
        while self._next is not None and self._next.seq <= seq:
            head = self._next
            if head.seq < seq:
                text = f"{HEADS} tells of row {head.seq}, which is not there"
                self.findings.add("head", head.seq, text)
            elif head.hash != digest:
                self.findings.add("head", seq, f"row {seq} is not the one of the head in {HEADS}")
            elif self._is_signed(head):
                self.findings.head, self.findings.heads = head, self.findings.heads + 1
            if head.why != BESIDE:
                self._here.append(head)
            self._next = next(self._lines, None)

    def finish(self, last: int) -> None:
        """Say what the file tells of rows behind the last one, and what was not checked."""
        for left in self._here:
            self.findings.add("head missing", left.seq, _no_row(left))
        ends = [one for one in (self._next, *self._lines) if one is not None and one.seq > last]
        if ends:
            end = max(ends, key=lambda one: one.seq)
            self.findings.add(
                "end cut",
                last + 1,
                f"rows {last + 1} to {end.seq} are missing at the end: {HEADS} tells of row "
                f"{end.seq} at {end.signed_at}",
                end.seq - last,
            )
        if self.file is not None:
            self.file.close()
        notes = self.findings.notes
        if self.keys is None:
            if self._signed:
                notes.append("signatures were not checked: give the station's public key")
            else:
                notes.append("no head is signed: who can write here can make a chain anew")
        elif not self._signed:
            text = "no head is signed by the key that was given; expected one at least"
            self.findings.add("signature", None, text)
        elif self._unsigned:
            notes.append(f"{self._unsigned} heads before the first signed one are not signed")
        head, behind = self.findings.head, last
        if head is not None:
            behind -= head.seq + (head.why != BESIDE)  # its own row stands behind what it covers
        if behind > 0:
            word = "row is" if behind == 1 else "rows are"
            notes.append(f"{behind} {word} behind the last head: a cut there would not show")

    def _head_row(self, seq: int, fields: Mapping[str, Any]) -> None:
        """A head's row stands directly behind the row it tells of, and has a line."""
        line = next((head for head in self._here if head_fields(head) == fields), None)
        if line is not None:
            self._here.remove(line)
        else:
            self.findings.add("head missing", seq, f"the head in row {seq} has no line in {HEADS}")
        if fields["head_seq"] != seq - 1:
            text = f"the head in row {seq} tells of row {fields['head_seq']}; expected {seq - 1}"
            self.findings.add("head", seq, text)

    def _is_signed(self, head: Head) -> bool:
        """Whether a head counts; says so if it should have been signed, by one of the keys."""
        if not head.signature:
            if self._signed:
                text = f"the head of row {head.seq} is not signed, and one before it is"
                self.findings.add("signature", head.seq, text)
            else:
                self._unsigned += 1
            return self.keys is None
        if self.keys is None:
            self._signed += 1
            return True
        content = signed_bytes(self.journal_id, head)
        if not any(_has_signed(key, head.signature, content) for key in self.keys):
            text = (
                f"the head of row {head.seq} is not signed by the key that was given (it names "
                f"{head.key[:60]!r})"
            )
            self.findings.add("signature", head.seq, text)
            return False
        self._signed += 1
        return True

    def _read(self, size: int) -> Iterator[Head]:
        """Heads of the file in its order; a last line that has no end yet is none."""
        if self.file is None:
            return
        number, read, last = 0, 0, 0
        while read < size:
            number += 1
            line = self.file.readline(min(LONGEST_LINE, size - read))
            read += len(line)
            if not line or (read >= size and not line.endswith(b"\n")):
                return
            try:
                journal_id, head = parse_line(line)
            except ValueError as error:
                self.findings.add("head", None, f"line {number} of {HEADS} {error}")
                continue
            if journal_id != self.journal_id:
                text = f"line {number} of {HEADS} is of another journal"
                self.findings.add("head", head.seq, text)
            elif head.seq < last:
                text = f"line {number} of {HEADS} tells of a row before that of the line above"
                self.findings.add("head", head.seq, text)
            else:
                last = head.seq
                yield head


def _no_row(head: Head) -> str:
    return (
        f"the head of row {head.seq}, signed at {head.signed_at}, is in {HEADS} and not in the "
        "database: its row was removed, or the writer ended at that very moment (the next start "
        "would have put it there)"
    )


def _has_signed(key: ec.EllipticCurvePublicKey, signature: str, content: bytes) -> bool:
    try:
        key.verify(base64.b64decode(signature, validate=True), content, ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
