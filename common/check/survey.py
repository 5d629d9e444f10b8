"""All that the checks look at, read from the disk once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from common.check.facts import ImageFacts, Progress, read_facts
from common.check.findings import CheckOptions
from common.check.tree import Part, category_folders, open_part
from common.errors import InputError


@dataclass(frozen=True)
class Survey:
    """A data folder and what is inside its images.

    Attributes
    ----------
    root : Path
    parts : list of Part
        Its categories.
    other_folders : list of Path
        Folders beside them.
    facts : dict of Path to ImageFacts
        Of every image; not of masks.
    options : CheckOptions
    """

    root: Path
    parts: list[Part]
    other_folders: list[Path]
    facts: dict[Path, ImageFacts] = field(repr=False)
    options: CheckOptions


def take_survey(root: Path, options: CheckOptions, progress: Progress | None = None) -> Survey:
    """Read a data folder.

    Raises
    ------
    InputError
        If there is no category in it, or a folder cannot be listed.
    """
    held, others = category_folders(root)
    try:
        parts = [open_part(folder) for folder in held]
    except OSError as error:
        raise InputError(f"{root}: cannot be listed ({error}); mend its permissions") from error
    paths = [picture.path for part in parts for picture in part.pictures]
    return Survey(root, parts, others, read_facts(paths, progress=progress), options)
