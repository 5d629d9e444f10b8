"""One walk over a data folder: the images in it, and every fault of its folders and names.

Nothing is refused here but a folder in which there is nothing to walk over, and no image is opened.
A run stops at the first fault, `check` names them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.data.fault import Fault
from common.data.folder.part import Part, has_splits, open_part
from common.data.folder.walk import Walk
from common.data.names import normal
from common.errors import InputError, NoImagesError

_EXPECTED: Final = "expected <category>/train/good/... in it"


@dataclass(frozen=True)
class Scan:
    """What one walk found.

    Attributes
    ----------
    parts : list of Part
        Categories, by natural name.
    faults : list of Fault
        What a run stops at, in the walk's order.
    passed_over : list of Fault
        What no run looks at, such as images outside train/ and test/.
    """

    parts: list[Part]
    faults: list[Fault]
    passed_over: list[Fault]


def scan_data(root: Path, categories: Iterable[str] | None = None) -> Scan:
    """Walk over a data folder; opens no image.

    Parameters
    ----------
    root : Path
        Folder of category folders. A category folder may be a symbolic link.
    categories : iterable of str, optional
        Only these; each must exist.

    Returns
    -------
    Scan

    Raises
    ------
    InputError
        If there is nothing to walk over: no such folder, an empty one, a category itself.
    """
    if not root.exists():
        raise NoImagesError(f"{root}: no such data folder; {_EXPECTED}")
    if not root.is_dir():
        raise InputError(f"{root}: a file; expected a data folder with <category>/train/good/...")
    if has_splits(root):
        raise InputError(
            f"{root}: is itself a category folder; pass its parent, the folder of all categories"
        )
    walk = Walk()
    top = walk.listing(root)
    if walk.faults and walk.faults[0].path == root:
        raise walk.faults[0].error
    folders = top.folders
    if categories is not None:
        wanted, names = {normal(name) for name in categories}, [normal(f.name) for f in folders]
        for absent in sorted(wanted - set(names)):
            raise InputError(f"{root}: no category {absent!r}; found: {', '.join(names) or 'none'}")
        folders = [folder for folder in folders if normal(folder.name) in wanted]
    if not folders:
        instead = "an empty data folder" if top.empty else "holds no category folder"
        raise NoImagesError(f"{root}: {instead}; {_EXPECTED}")
    walk.pass_over_images(top)
    found = [open_part(folder, walk) for folder in folders]
    parts = [part for part in found if part is not None]
    walk.check_names([part.outer for part in parts])
    return Scan(parts, walk.faults, walk.passed_over)
