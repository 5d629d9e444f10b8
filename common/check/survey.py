"""All that the checks look at, read from the disk once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from common.check.facts import ImageFacts, Progress, read_facts
from common.check.findings import CheckOptions
from common.data.fault import Fault
from common.data.folder.part import Part
from common.data.folder.scan import scan_data
from common.data.samples import Sample


@dataclass(frozen=True)
class Survey:
    """A data folder and what is inside its images.

    Attributes
    ----------
    parts : list of Part
        Its categories.
    faults : list of Fault
        Of its folders and names: what a run stops at.
    passed_over : list of Fault
        What no run looks at.
    facts : dict of Path to ImageFacts
        Of every image; not of masks.
    options : CheckOptions
    """

    parts: list[Part]
    faults: list[Fault]
    passed_over: list[Fault]
    facts: dict[Path, ImageFacts] = field(repr=False)
    options: CheckOptions

    def readable(self, part: Part) -> list[Sample]:
        """Images of a category that can be decoded."""
        return [sample for sample in part.samples if self.facts[sample.path].error is None]


def take_survey(root: Path, options: CheckOptions, progress: Progress | None = None) -> Survey:
    """Read a data folder.

    Raises
    ------
    InputError
        If there is no category in it.
    """
    scan = scan_data(root)
    if not scan.parts:
        raise scan.faults[0].error
    paths = [sample.path for part in scan.parts for sample in part.samples]
    facts = read_facts(paths, progress=progress)
    return Survey(scan.parts, scan.faults, scan.passed_over, facts, options)
