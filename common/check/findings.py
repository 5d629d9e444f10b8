"""What a check says: one fault, the file that has it, why it matters and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.config import Settings

Severity = Literal["error", "warning", "note"]
"""error: runs refuse the folder; warning: they accept it and their result suffers; note: for
information, a clean folder may have some."""


@dataclass(frozen=True)
class Finding:
    """One fault in one place.

    Attributes
    ----------
    kind : str
        Name of the fault, the same in every version, such as `orphaned-mask`.
    severity : "error", "warning" or "note"
    path : Path
        The file or folder that has it.
    found : str
        What is there.
    why : str
        Why it matters.
    mend : str
        What to do.
    """

    kind: str
    severity: Severity
    path: Path
    found: str
    why: str
    mend: str

    def to_json(self) -> dict[str, str]:
        """All fields as text."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "path": str(self.path),
            "found": self.found,
            "why": self.why,
            "mend": self.mend,
        }


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what is the same wherever it turns up."""

    name: str
    severity: Severity
    why: str
    mend: str

    def at(self, path: Path, found: str, mend: str | None = None) -> Finding:
        """Say that this fault was found in a place, with a more exact mend if there is one."""
        return Finding(self.name, self.severity, path, found, self.why, mend or self.mend)


@dataclass(frozen=True)
class CheckOptions:
    """What the folder is wanted for.

    Attributes
    ----------
    settings : Settings
        Of the runs that are planned: how many images they hold out, and what for.
    rate_is_wanted : bool
        Whether somebody asked for this rate; too few images for the default one are only a note.
    memory : int or None
        Bytes that runs may use on the machine that is planned for; None: not known.
    """

    settings: Settings = Settings()  # noqa: RUF009  # frozen as well
    rate_is_wanted: bool = False
    memory: int | None = None


@dataclass(frozen=True)
class Report:
    """All findings of one folder.

    Attributes
    ----------
    root : Path
    findings : list of Finding
        Errors first, then warnings, then notes; by path.
    images, masks : int
        Files looked at.
    categories : list of str
    suggested : dict of setting to value, or None
        Settings that suit the images, and what they rest on.
    suggestion : str
        The same in a sentence.
    """

    root: Path
    findings: list[Finding]
    images: int = 0
    masks: int = 0
    categories: list[str] = field(default_factory=list)
    suggested: dict[str, Any] | None = None
    suggestion: str = ""

    @property
    def exit_code(self) -> int:
        """0 if there is nothing to mend (notes do not count), else 1."""
        return int(any(finding.severity != "note" for finding in self.findings))

    def count(self, severity: Severity) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Content of `check --json`."""
        return {
            "data": str(self.root),
            "clean": self.exit_code == 0,
            "categories": self.categories,
            "images": self.images,
            "masks": self.masks,
            "counts": {s: self.count(s) for s in ("error", "warning", "note")},
            "suggested": self.suggested,
            "findings": [finding.to_json() for finding in self.findings],
        }
