"""The index of a data folder: which images there are, of which category, split and defect type.

Both published layouts are understood. AutoVI: `<category>/ground_truth/<defect>/<stem>/NNNN.png`
with `defects_config.json`, also doubly nested as its zip files unpack. MVTec:
`<category>/ground_truth/<defect>/<stem>_mask.png`. Counts come from the disk, never from a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from common.data.defects import DefectsConfig, read_defects_config
from common.data.images import IMAGE_SUFFIXES, natural_key
from common.errors import InputError, NoImagesError

Split = Literal["train", "test"]
Layout = Literal["autovi", "mvtec", "no_masks"]

GOOD: Final = "good"
SYNTHETIC_MARKER: Final = "synthetic.json"
_IGNORED: Final = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Sample:
    """One image of a data folder.

    Attributes
    ----------
    path : Path
    category : str
        The part that the image shows.
    split : "train" or "test"
    label : int
        0 = good, 1 = defective.
    defect_type : str
        Name of the test folder; "good" for good parts.
    masks : tuple of Path, or None
        Ground-truth files of a defective image (AutoVI: one a region; MVTec: one an image). Empty
        for good images. None where the category has no ground truth at all.
    """

    path: Path
    category: str
    split: Split
    label: int
    defect_type: str
    masks: tuple[Path, ...] | None = ()


@dataclass(frozen=True)
class Category:
    """A category folder: where it is, how its ground truth is laid out, what its config says."""

    name: str
    folder: Path
    layout: Layout
    defects: DefectsConfig | None = None


@dataclass(frozen=True)
class DataIndex:
    """All images of a data folder, in one fixed order.

    Attributes
    ----------
    root : Path
    categories : dict of name to Category
    samples : list of Sample
        By category name, train before test, good before defects, natural file order.
    synthetic : bool
        True if the folder says of itself that its images are drawings.
    """

    root: Path
    categories: dict[str, Category]
    samples: list[Sample] = field(repr=False)
    synthetic: bool = False

    def select(self, split: Split | None = None, category: str | None = None) -> list[Sample]:
        """Samples of one split and/or one category, in index order."""
        return [
            sample
            for sample in self.samples
            if (split is None or sample.split == split)
            and (category is None or sample.category == category)
        ]


def index_data(root: Path | str, categories: Iterable[str] | None = None) -> DataIndex:
    """Read which images a data folder holds; opens no image.

    Parameters
    ----------
    root : path
        Folder of category folders. A category folder may be a symbolic link.
    categories : iterable of str, optional
        Only these; each must exist.

    Returns
    -------
    DataIndex

    Raises
    ------
    InputError
        On a missing or empty folder, a folder that is no category, misplaced or unexpected files,
        empty image folders, missing or orphaned masks, or an unusable `defects_config.json`; the
        message names the path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from common.data.layout import index_data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     good = Path(folder, "clip", "train", "good")
    ...     good.mkdir(parents=True)
    ...     (good / "000.png").touch()
    ...     samples = index_data(folder).samples
    >>> [(one.category, one.split, one.label, one.path.name) for one in samples]
    [('clip', 'train', 0, '000.png')]
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise NoImagesError(
            f"{root}: no such data folder; expected <category>/train/good/... in it"
        )
    if not root.is_dir():
        raise InputError(f"{root}: a file; expected a data folder with <category>/train/good/...")
    if (root / "train").is_dir() or (root / "test").is_dir():
        raise InputError(
            f"{root}: is itself a category folder; pass its parent, the folder of all categories"
        )
    folders = _folders(root)
    wanted = None if categories is None else set(categories)
    if wanted is not None:
        absent = sorted(wanted - {folder.name for folder in folders})
        if absent:
            names = ", ".join(folder.name for folder in folders) or "none"
            raise InputError(f"{root}: no category {absent[0]!r}; found: {names}")
        folders = [folder for folder in folders if folder.name in wanted]
    if not folders:
        found_instead = "holds no category folder" if _entries(root) else "an empty data folder"
        raise NoImagesError(f"{root}: {found_instead}; expected <category>/train/good/... in it")
    found: dict[str, Category] = {}
    samples: list[Sample] = []
    for folder in folders:
        category = _open_category(folder)
        found[category.name] = category
        samples.extend(_index_category(category))
    return DataIndex(root, found, samples, synthetic=(root / SYNTHETIC_MARKER).is_file())


def _open_category(folder: Path) -> Category:
    inner = folder / folder.name
    if inner.is_dir() and not (folder / "train").is_dir() and not (folder / "test").is_dir():
        place = inner  # the published zip files hold <category>/<category>/
    else:
        place = folder
    if not (place / "train").is_dir() and not (place / "test").is_dir():
        raise InputError(
            f"{folder}: has neither train/ nor test/, so it is no category folder; "
            "move it away or mend its names"
        )
    for sub in _folders(place):
        meant = sub.name.lower()
        if meant in ("train", "test", "ground_truth") and not (place / meant).is_dir():
            raise InputError(f"{sub}: expected the name {meant!r}; rename it")
    truth, config = place / "ground_truth", place / "defects_config.json"
    if not truth.is_dir():
        if config.is_file() and any(sub.name != GOOD for sub in _folders(place / "test")):
            raise InputError(
                f"{truth}: missing, though {config.name} beside it describes masks; restore it"
            )
        return Category(folder.name, place, "no_masks")
    _no_files_beside_folders(truth)
    holds_files = any(path.is_file() for sub in _folders(truth) for path in _entries(sub))
    holds_folders = any(path.is_dir() for sub in _folders(truth) for path in _entries(sub))
    if holds_files and holds_folders:
        raise InputError(
            f"{truth}: mixes mask files (MVTec layout) with one folder per image (AutoVI layout); "
            "use one of the two"
        )
    if holds_files:
        return Category(folder.name, place, "mvtec")
    if not holds_folders and not config.is_file():
        return Category(folder.name, place, "mvtec")  # no defective image here, so no mask either
    if not config.is_file():
        raise InputError(
            f"{config}: missing; the AutoVI layout of {truth} needs it to read its masks"
        )
    return Category(folder.name, place, "autovi", read_defects_config(config))


def _index_category(category: Category) -> list[Sample]:
    samples: list[Sample] = []
    train, test = category.folder / "train", category.folder / "test"
    if train.is_dir():
        for folder in _folders_only(train):
            if folder.name != GOOD:
                raise InputError(
                    f"{folder}: training images must be good parts in {train / GOOD}; "
                    "move this folder to test/ or away"
                )
            samples += [Sample(p, category.name, "train", 0, GOOD) for p in _images(folder)]
    if test.is_dir():
        for folder in sorted(_folders_only(test), key=lambda folder: folder.name != GOOD):
            samples += _index_test(category, folder)
    _no_orphans(category, samples)
    return samples


def _index_test(category: Category, folder: Path) -> list[Sample]:
    """Test images of one defect type, or the good ones."""
    images = _images(folder)
    if folder.name == GOOD:
        return [Sample(p, category.name, "test", 0, GOOD) for p in images]
    if folder.name.lower() == GOOD:
        raise InputError(f"{folder}: is it a defect type? rename the folder of good parts {GOOD!r}")
    if category.layout != "no_masks":
        _no_shared_masks(images)
    return [
        Sample(p, category.name, "test", 1, folder.name, _masks(category, folder.name, p))
        for p in images
    ]


def _no_shared_masks(images: Sequence[Path]) -> None:
    """Refuse `a.png` beside `a.jpg`: a mask is found by the stem alone."""
    by_stem: dict[str, Path] = {}
    for path in images:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise InputError(
                f"{path.parent}: {other.name} and {path.name} differ only by their ending, so that "
                "their masks cannot be told apart; rename one of them and its mask"
            )


def _masks(category: Category, defect: str, image: Path) -> tuple[Path, ...] | None:
    """Ground-truth files of one defective image."""
    truth = category.folder / "ground_truth" / defect
    if category.layout == "no_masks":
        return None
    if category.layout == "mvtec":
        mask = truth / f"{image.stem}_mask.png"
        if not mask.is_file():
            raise InputError(f"{mask}: missing; the defective image {image} needs its mask")
        return (mask,)
    folder = truth / image.stem
    if not folder.is_dir():
        raise InputError(f"{folder}: missing; the defective image {image} needs its masks there")
    return tuple(_images(folder))


def _no_orphans(category: Category, samples: list[Sample]) -> None:
    """Ground truth without its image is a misplaced file, not something to pass over."""
    if category.layout == "no_masks":
        return
    masks = {mask for sample in samples for mask in sample.masks or ()}
    used = {mask.parent for mask in masks} if category.layout == "autovi" else masks
    for defect in _folders(category.folder / "ground_truth"):
        for entry in _entries(defect):
            if entry not in used:
                images = category.folder / "test" / defect.name
                raise InputError(
                    f"{entry}: ground truth that belongs to no image in {images}; "
                    "add the image or remove this"
                )


def _images(folder: Path) -> list[Path]:
    """Image files of a folder in natural order; anything else in it is refused."""
    images = []
    for entry in _entries(folder):
        if entry.is_dir():
            raise InputError(f"{entry}: a folder among images; expected image files only")
        if entry.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(
                f"{entry}: not an image by its name; expected {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        images.append(entry)
    if not images:
        raise InputError(f"{folder}: an empty folder; put images into it or remove it")
    return images


def _folders_only(folder: Path) -> list[Path]:
    """Folders in train/ or test/, where nothing else may lie and something must."""
    _no_files_beside_folders(folder)
    folders = _folders(folder)
    if not folders:
        raise InputError(f"{folder}: an empty folder; expected {folder / GOOD}, or remove it")
    return folders


def _no_files_beside_folders(folder: Path) -> None:
    for entry in _entries(folder):
        if entry.is_file():
            raise InputError(
                f"{entry}: misplaced; expected it in a sub-folder such as {folder / GOOD}"
            )


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """Contents of a folder in natural order, without what systems leave behind."""
    if not folder.is_dir():
        return []
    try:
        found = [p for p in folder.iterdir() if p.name not in _IGNORED and p.name[0] != "."]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error}); mend its permissions") from error
    for entry in found:
        if entry.is_symlink() and not entry.exists():
            raise InputError(f"{entry}: a broken symbolic link; mend or remove it")
    return sorted(found, key=lambda path: natural_key(path.name))
