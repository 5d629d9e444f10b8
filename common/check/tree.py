"""A data folder as it is found, faults and all: nothing is refused here.

`common.data.layout` stops at the first thing that a run could not use. A doctor has to go on, so
this is a second, forgiving look at the same folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from common.data.images import IMAGE_SUFFIXES, natural_key
from common.data.layout import GOOD
from common.errors import InputError

_LEFT_BEHIND: Final = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
"""What systems put into folders by themselves; the index passes over it, too."""
CONFIG: Final = "defects_config.json"


@dataclass(frozen=True)
class Picture:
    """An image file in its place."""

    path: Path
    category: str
    split: Literal["train", "test"]
    defect: str

    @property
    def good(self) -> bool:
        """Whether its folder says that it shows a good part."""
        return self.defect.lower() == GOOD


@dataclass(frozen=True)
class MaskFile:
    """A ground-truth file: the defect folder it lies in and the image it belongs to by its name."""

    path: Path
    defect: str
    stem: str


@dataclass
class Part:
    """A category folder, with whatever was found in it."""

    name: str
    outer: Path
    place: Path
    pictures: list[Picture] = field(default_factory=list)
    masks: list[MaskFile] = field(default_factory=list)

    @property
    def truth(self) -> Path:
        """Where its ground truth lies or would lie."""
        return self.place / "ground_truth"

    @property
    def config(self) -> Path:
        """Where its defect table lies or would lie."""
        return self.place / CONFIG

    @property
    def autovi(self) -> bool:
        """Whether masks are read by the defect table: one folder an image."""
        inner = [entry for defect in folders(self.truth) for entry in listing(defect)]
        return any(entry.is_dir() for entry in inner) or (not inner and self.config.is_file())


def listing(folder: Path) -> list[Path]:
    """Contents of a folder in natural order; of what is no folder, nothing."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if p.name not in _LEFT_BEHIND and p.name[0] != "."]
    return sorted(found, key=lambda path: natural_key(path.name))


def folders(folder: Path) -> list[Path]:
    """Folders in a folder."""
    return [entry for entry in listing(folder) if entry.is_dir()]


def is_image_name(path: Path) -> bool:
    """Whether a file's name is one of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_broken_link(path: Path) -> bool:
    """Whether a symbolic link leads nowhere."""
    return path.is_symlink() and not path.exists()


def category_folders(root: Path) -> tuple[list[Path], list[Path]]:
    """Folders of a data folder: those that hold categories, and the others.

    Raises
    ------
    InputError
        If there is nothing to look over: no folder, or no category in it.
    """
    if not root.exists():
        raise InputError(f"{root}: no such data folder; expected <category>/train/good/... in it")
    if not root.is_dir():
        raise InputError(f"{root}: a file; expected a data folder with <category>/train/good/...")
    if is_category(root):
        raise InputError(
            f"{root}: is itself a category folder; pass its parent, the folder of all categories"
        )
    try:
        candidates = folders(root)
        held = [f for f in candidates if is_category(f) or is_category(f / f.name)]
    except OSError as error:
        raise InputError(f"{root}: cannot be listed ({error}); mend its permissions") from error
    if not held:
        deeper = [f for f in candidates if any(is_category(inner) for inner in folders(f))]
        hint = f"; they lie one folder deeper: pass {deeper[0]}" if deeper else ""
        raise InputError(
            f"{root}: holds no category folder; expected <category>/train/good/...{hint}"
        )
    return held, [folder for folder in candidates if folder not in held]


def is_category(folder: Path) -> bool:
    """Whether a folder has train or test in it, however they are spelt."""
    return any(entry.name.lower() in ("train", "test") for entry in folders(folder))


def open_part(folder: Path) -> Part:
    """Read a category folder into lists of images and masks."""
    inner = folder / folder.name
    place = inner if is_category(inner) and not is_category(folder) else folder
    part = Part(folder.name, folder, place)
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    for split in splits:
        for home in _spelt(place, split):
            for defect in folders(home):
                part.pictures += [
                    Picture(path, part.name, split, defect.name) for path in _files(defect)
                ]
    for truth in _spelt(place, "ground_truth"):
        for defect in folders(truth):
            for entry in listing(defect):
                if entry.is_dir():
                    part.masks += [MaskFile(p, defect.name, entry.name) for p in _files(entry)]
                elif is_image_name(entry) and entry.is_file():
                    part.masks.append(MaskFile(entry, defect.name, image_stem(entry)))
    return part


def image_stem(entry: Path) -> str:
    """Stem of the image that a folder or file of ground truth belongs to, by its name."""
    if entry.is_dir():
        return entry.name
    return entry.name.removesuffix("_mask.png")  # under any other name it belongs to none


def _spelt(place: Path, name: str) -> Iterator[Path]:
    """Folders of this name, in whatever case."""
    return (entry for entry in folders(place) if entry.name.lower() == name)


def _files(folder: Path) -> list[Path]:
    return [path for path in listing(folder) if is_image_name(path) and path.is_file()]
