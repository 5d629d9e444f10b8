"""What a preflight collects: facts that were seen, and faults as `check` names them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.check import Finding
from common.check.findings import Kind, Severity

_ORDER: Final = {"error": 0, "warning": 1, "note": 2}


@dataclass
class Preflight:
    """Facts and findings about one station.

    Attributes
    ----------
    path : Path
        The station file.
    station : str
    facts : dict of str to str
        What was looked at and seen, in order; for people, and to be compared between stations.
    findings : list of Finding
    """

    path: Path
    station: str
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, kind: Kind, path: Path, found: str, mend: str | None = None) -> None:
        """Note a fault."""
        self.findings.append(kind.at(path, found, mend))

    def sorted_findings(self) -> list[Finding]:
        """Errors first, then warnings, then notes; within these as they were found."""
        return sorted(self.findings, key=lambda finding: _ORDER[finding.severity])

    def count(self, severity: Severity) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def exit_code(self) -> int:
        """0 if there is nothing to mend (notes do not count), else 1."""
        return int(any(finding.severity != "note" for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """Content of `check --station --json`."""
        return {
            "station": self.station,
            "file": str(self.path),
            "clean": self.exit_code == 0,
            "facts": self.facts,
            "counts": {s: self.count(s) for s in ("error", "warning", "note")},
            "findings": [finding.to_json() for finding in self.sorted_findings()],
        }


def gigabytes(count: float) -> str:
    """Write a number of bytes in GiB, for people."""
    return f"{count / 2**30:.2f} GiB" if count < 10 * 2**30 else f"{count / 2**30:.0f} GiB"
