"""What was fetched into a category folder, kept in it; and whether all of it is still there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from common.data.fetch.autovi import LICENCE, Archive
from common.data.folder.scan import Scan, scan_data
from common.errors import InputError
from common.paths import json_text
from common.system.files import replacing

RECORD: Final = ".fetched.json"
"""Hidden, so that nobody takes it for data; in the folder, so that both go or move together."""


@dataclass(frozen=True)
class Content:
    """Images of one category, counted on the disk.

    Attributes
    ----------
    groups : dict of str to int
        `train/good`, `test/good`, `test/<defect type>` and `masks` -> files.
    size : int
        Bytes of these files.
    """

    groups: dict[str, int]
    size: int

    @property
    def train(self) -> int:
        """Good training images."""
        return self.groups.get("train/good", 0)

    @property
    def good(self) -> int:
        """Good test images."""
        return self.groups.get("test/good", 0)

    @property
    def defective(self) -> int:
        """Defective test images."""
        tested = sum(n for name, n in self.groups.items() if name.startswith("test/"))
        return tested - self.good

    @property
    def masks(self) -> int:
        """Ground-truth files."""
        return self.groups.get("masks", 0)


def count(root: Path, category: str) -> tuple[Content, Scan]:
    """Count a category as every command reads it; opens no image.

    Raises
    ------
    InputError
        If there is no such category.
    """
    scan = scan_data(root, [category])
    groups: dict[str, int] = {}
    files = []
    for part in scan.parts:
        for sample in part.samples:
            name = f"{sample.split}/{sample.defect_type}"
            groups[name] = groups.get(name, 0) + 1
            files.append(sample.path)
        groups["masks"] = len(part.masks)
        files += part.masks
    return Content(groups, sum(path.stat().st_size for path in files)), scan


def write_record(folder: Path, archive: Archive, source: str, content: Content) -> None:
    """Keep what was fetched; written last, so that with it the folder is whole."""
    known = {
        "category": archive.category,
        "archive": archive.name,
        "archive_bytes": archive.size,
        "sha256": archive.sha256,
        "source": source,
        "licence": LICENCE,
        **asdict(content),
    }
    with replacing(folder / RECORD, durable=True) as file:
        file.write(json_text(known).encode())


def look_at(root: Path, archive: Archive) -> tuple[Literal["absent", "whole"], Content | None]:
    """Find out whether a category was fetched before and is still whole.

    Parameters
    ----------
    root : Path
        Folder of the categories.
    archive : Archive

    Returns
    -------
    (state, content)
        `absent` and None, or `whole` and what is there now, which may be more than was fetched.

    Raises
    ------
    InputError
        If something else lies in the place, or part of what was fetched is gone or changed.
    """
    folder = root / archive.category
    if not folder.exists() and not folder.is_symlink():
        return "absent", None
    known = _read(folder, archive)
    content, _ = count(root, archive.category)
    mend = f"move {folder} away to fetch it anew, or leave it out by --category"
    for name, before in known.groups.items():
        now = content.groups.get(name, 0)
        if now < before:
            raise InputError(f"{folder}: {now} files in {name}, {before} were fetched; {mend}")
    if content.groups == known.groups and content.size != known.size:
        raise InputError(
            f"{folder}: {content.size:,} bytes of images and masks, {known.size:,} were fetched; "
            f"a file was changed or cut; {mend}"
        )
    return "whole", content


def _read(folder: Path, archive: Archive) -> Content:
    """What the record says; only a fetch of this very zip makes the folder its own."""
    path = folder / RECORD
    mend = f"move {folder} away to have it fetched, or use it as it is"
    if not path.is_file():
        raise InputError(f"{folder}: is there already, and no fetch has made it; {mend}")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        groups = {str(name): int(files) for name, files in known["groups"].items()}
        content, digest = Content(groups, int(known["size"])), str(known["sha256"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a record of a fetch ({error}); {mend}") from error
    if digest != archive.sha256:
        raise InputError(f"{folder}: was fetched from another {archive.name}; {mend}")
    return content
