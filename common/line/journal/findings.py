"""What a verifier found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from common.line.journal.rows import Head

KINDS: Final = {
    "database": "the database file is damaged, or its tables are not those of a journal",
    "row changed": "a field of a row, or its hash, is not what was written",
    "row missing": "a row was removed",
    "row twice": "a place in the chain is taken twice",
    "end cut": "rows at the end were removed",
    "head": "a signed head is not of this journal, or not of this chain",
    "head missing": "a head was removed from the database or from the file",
    "signature": "a head is not signed by the station's key",
    "review mark": "a part's mark that it was reviewed is not what the reviews say",
    "image": "a kept image file is missing, or another one",
}
"""What can be wrong, in words."""


@dataclass(frozen=True)
class Finding:
    """The first of a kind, and how many there are.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    row : int or None
        Place in the chain of the first.
    what : str
        What is wrong with it.
    count : int
        How many of the kind there are; of rows behind one another that are missing, all.
    """

    kind: str
    row: int | None
    what: str
    count: int = 1


@dataclass
class Findings:
    """What `verify` says of a journal.

    Attributes
    ----------
    found : dict of name to Finding
        By kind; `row changed (reviews)` and so on for changed rows of each table. Empty if the
        journal is whole.
    notes : list of str
        What was not checked, and what a reader should know.
    rows : dict of kind of row to int
        How many were read.
    last : int
        The last row.
    head : Head or None
        The last one whose hash is that of its row and which, if a key was given, it signed.
    heads : int
        How many there are of that sort.
    images : int
        Image files that were read and are what they were.
    """

    found: dict[str, Finding] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    last: int = 0
    head: Head | None = None
    heads: int = 0
    images: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def add(self, kind: str, row: int | None, what: str, count: int = 1, table: str = "") -> None:
        """Take a finding in: the first of its kind is kept in words, the others are counted.

        With a table, the first of each is kept.
        """
        name = f"{kind} ({table})" if table else kind
        first = self.found.get(name)
        if first is not None:
            row, what, count = first.row, first.what, first.count + count
        self.found[name] = Finding(kind, row, what, count)
