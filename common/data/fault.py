"""One thing that is wrong with a data folder: a run stops at the first, `check` lists them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import InputError

FaultKind = Literal[
    "ambiguous-nesting",
    "bad-defects-config",
    "broken-link",
    "defects-in-train",
    "empty-folder",
    "empty-mask",
    "folder-among-images",
    "mask-size",
    "misplaced-file",
    "missing-defects-config",
    "missing-ground-truth",
    "missing-mask",
    "mixed-layouts",
    "not-a-category",
    "not-an-image-name",
    "orphaned-mask",
    "same-name",
    "same-stem",
    "several-mask-values",
    "special-file",
    "unknown-mask-value",
    "unlistable-folder",
    "unread-folder",
    "unreadable-mask",
    "unusable-name",
    "wrong-name",
]
"""Names that stay the same in every version; what `check` says of each is in `common.check`."""


@dataclass(frozen=True)
class Fault:
    """One fault in one place.

    Attributes
    ----------
    kind : str
    path : Path
        The file or folder that has it.
    error : InputError
        What a run says when it stops here.
    detail : str, optional
        What was found, where the error's own words name another path.
    """

    kind: FaultKind
    path: Path
    error: InputError
    detail: str | None = None

    @property
    def found(self) -> str:
        """What is there, without the path and without what to do about it."""
        return self.detail or found_at(self.path, self.error)


def found_at(path: Path, error: InputError) -> str:
    """What an error says was found at a path: its words up to the first semicolon."""
    return str(error).removeprefix(f"{path}: ").removeprefix("found ").partition("; ")[0]
