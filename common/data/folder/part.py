"""A category folder as it is found: its images, its masks, and what is wrong with either.

Both published layouts are understood. AutoVI: `<category>/ground_truth/<defect>/<stem>/NNNN.png`
with `defects_config.json`, also doubly nested as its zip files unpack. MVTec:
`<category>/ground_truth/<defect>/<stem>_mask.png`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.data.defects import read_defects_config
from common.data.fault import Fault
from common.data.folder.walk import Listing, Walk
from common.data.images import is_image_name
from common.data.names import normal
from common.data.samples import GOOD, Category, DefectsConfig, Layout, Sample
from common.errors import InputError

CONFIG: Final = "defects_config.json"
_SPLITS: Final = ("train", "test")
_READ: Final = (*_SPLITS, "ground_truth")


@dataclass(frozen=True)
class Part:
    """A category folder and what was found in it.

    Attributes
    ----------
    category : Category
    outer : Path
        The folder in the data folder; the category's own may be one of the same name in it.
    samples : list of Sample
        Train before test, good before defects, natural file order; also those in folders whose
        name is wrong.
    masks : dict of Path to Sample or None
        Every ground-truth file, and the image that it belongs to.
    """

    category: Category
    outer: Path
    samples: list[Sample]
    masks: dict[Path, Sample | None]

    @property
    def training(self) -> list[Path]:
        """Good training images."""
        return [s.path for s in self.samples if s.split == "train" and not s.label]

    @property
    def defective(self) -> list[Sample]:
        """Defective test images."""
        return [s for s in self.samples if s.split == "test" and s.label]


def has_splits(folder: Path) -> bool:
    """Whether a folder has train/ or test/ in it."""
    return any(os.path.isdir(folder / split) for split in _SPLITS)


def open_part(outer: Path, walk: Walk) -> Part | None:
    """Read a folder of a data folder.

    Parameters
    ----------
    outer : Path
    walk : Walk
        Keeps what is wrong.

    Returns
    -------
    Part or None
        None if the folder is no category, which is a fault.
    """
    place, inside = outer, walk.listing(outer)
    inner = outer / outer.name
    walk.pass_over_images(inside)
    unread = [folder for folder in inside.folders if folder.name.lower() not in _READ]
    if not _is_category(inside) and inner in inside.folders:
        place, inside = inner, walk.listing(inner)  # the published zip files unpack like this
        walk.pass_over_images(inside)
        unread += [folder for folder in inside.folders if folder.name.lower() not in _READ]
    elif has_splits(inner):
        walk.pass_over("ambiguous-nesting", inner, "a second category folder inside the first")
    if _is_category(inside):
        for folder in unread:
            if folder != inner:  # read, or named above
                walk.pass_over("unread-folder", folder, "a folder that no run reads")
        return _Opened(walk, outer, place, inside).read()
    text = "has neither train/ nor test/, so it is no category folder; "
    if any(map(has_splits, inside.folders)):
        text += f"categories lie one folder deeper: pass {outer}"
    else:
        text += "move it away or mend its names"
    walk.note("not-a-category", outer, text)
    return None


def _is_category(inside: Listing) -> bool:
    """Whether train or test is in a folder, however they are spelt."""
    return any(entry.name.lower() in _SPLITS for entry in inside.folders)


class _Opened:
    """One category while it is read."""

    def __init__(self, walk: Walk, outer: Path, place: Path, inside: Listing) -> None:
        self.walk, self.outer, self.place, self.inside = walk, outer, place, inside
        self.name = normal(outer.name)
        self.truth = place / "ground_truth"
        self.layout: Layout = "no_masks"
        self.entries: dict[Path, list[Path]] = {}
        """Ground truth of an image, a file or a folder, and the masks there."""
        self.spelt: dict[str, Path] = {}
        """The same by its normal spelling: image and mask may come from different systems."""
        self.samples: list[Sample] = []

    def read(self) -> Part:
        """Read its folders, in the order of the index."""
        homes = self._homes()
        if "ground_truth" in homes:
            self.truth = homes["ground_truth"]
            self._ground_truth()
        table = self._table()
        for folder in self._defects(homes.get("train")):
            self._train(folder)
        tests = self._defects(homes.get("test"))
        if "ground_truth" not in homes and self._has_table and any(t.name != GOOD for t in tests):
            text = f"missing, though {CONFIG} beside it describes masks; restore it"
            self.walk.note("missing-ground-truth", self.truth, text)
        self.walk.check_names(tests)
        for folder in sorted(tests, key=lambda folder: folder.name != GOOD):
            self._test(folder)
        tested = {self._masks_of(s.path): s for s in self.samples if s.split == "test"}
        owners = {entry: s for entry, s in tested.items() if s.masks or not s.label}
        self._orphans(tested)
        masks = {m: owners.get(entry) for entry, own in self.entries.items() for m in own}
        category = Category(self.name, self.place, self.layout, table)
        return Part(category, self.outer, self.samples, masks)

    @property
    def _has_table(self) -> bool:
        return self.place / CONFIG in self.inside.files

    def _homes(self) -> dict[str, Path]:
        """Where train, test and ground_truth are meant to be, whatever their spelling."""
        homes: dict[str, Path] = {}
        for folder in self.inside.folders:
            meant = folder.name.lower()
            if meant in _READ:
                if folder.name != meant:
                    text = f"expected the name {meant!r}; rename it"
                    found = f"the name {folder.name!r}, not {meant!r}"
                    self.walk.note("wrong-name", folder, text, detail=found)
                if folder.name == meant or meant not in homes:
                    homes[meant] = folder
        return homes

    def _ground_truth(self) -> None:
        """Find the layout and all masks."""
        inside = [self.walk.listing(defect) for defect in self.walk.folders(self.truth).folders]
        files = [entry for one in inside for entry in one.files]
        folders = [entry for one in inside for entry in one.folders]
        if files and folders:
            text = (
                "mixes mask files (MVTec layout) with one folder per image (AutoVI layout); "
                "use one of the two"
            )
            self.walk.note("mixed-layouts", self.truth, text)
        self.entries = {entry: [entry] if is_image_name(entry.name) else [] for entry in files}
        self.entries |= {entry: self.walk.images(entry) for entry in folders}
        self.spelt = {normal(str(entry)): entry for entry in self.entries}
        # Without any mask and table no image is defective here: either layout would do.
        self.layout = "autovi" if folders or (self._has_table and not files) else "mvtec"

    def _table(self) -> DefectsConfig | None:
        """Read what the masks' grey values mean; nobody needs it but AutoVI's layout."""
        config, needed = self.place / CONFIG, self.layout == "autovi"
        if self._has_table:
            try:
                table = read_defects_config(config)
                return table if needed else None
            except InputError as error:
                into = self.walk.faults if needed else self.walk.passed_over
                into.append(Fault("bad-defects-config", config, error))
        elif needed:
            text = f"missing; the AutoVI layout of {self.truth} needs it to read its masks"
            self.walk.note("missing-defects-config", config, text)
        return None

    def _defects(self, home: Path | None) -> list[Path]:
        """Folders in train/ or test/, where something must lie."""
        if home is None:
            return []
        found = self.walk.folders(home)
        if found.empty:
            text = f"an empty folder; expected {home / GOOD}, or remove it"
            self.walk.note("empty-folder", home, text)
        return found.folders

    def _train(self, folder: Path) -> None:
        good = self._is_good(folder)
        if not good:
            text = (
                f"training images must be good parts in {folder.with_name(GOOD)}; bring them there "
                "if these are good ones, else move the folder to test/ or away"
            )
            found = f"training images named {folder.name!r}"
            self.walk.note("defects-in-train", folder, text, detail=found)
        for path in self.walk.images(folder):
            self.samples.append(
                Sample(path, self.name, "train", int(not good), normal(folder.name))
            )

    def _test(self, folder: Path) -> None:
        """Test images of one defect type with their masks, or the good ones."""
        good = self._is_good(folder)
        images = self.walk.images(folder)
        if not good and self.layout != "no_masks":
            self._no_shared_masks(images)
        name = normal(folder.name)
        for path in images:
            masks = () if good else self._masks(path)
            self.samples.append(Sample(path, self.name, "test", int(not good), name, masks))

    def _is_good(self, folder: Path) -> bool:
        """Whether a folder is meant for good parts; another spelling of the name is a fault."""
        if folder.name.lower() == GOOD and folder.name != GOOD:
            text = f"is it a defect type? rename the folder of good parts {GOOD!r}"
            found = f"the name {folder.name!r}, not {GOOD!r}"
            self.walk.note("wrong-name", folder, text, detail=found)
        return folder.name.lower() == GOOD

    def _no_shared_masks(self, images: list[Path]) -> None:
        """`a.png` beside `a.jpg`: a mask is found by the stem alone."""
        by_stem: dict[str, Path] = {}
        for path in images:
            other = by_stem.setdefault(normal(path.stem), path)
            if other is not path:
                found = (
                    f"{other.name} and {path.name} differ only by their ending, so that their "
                    "masks cannot be told apart"
                )
                text = f"{found}; rename one of them and its mask"
                self.walk.note("same-stem", path, text, named=path.parent, detail=found)

    def _masks_of(self, image: Path) -> Path:
        """Where the masks of a defective image lie: a folder, or one file."""
        name = image.stem if self.layout == "autovi" else f"{image.stem}_mask.png"
        place = self.truth / image.parent.name / name
        return self.spelt.get(normal(str(place)), place)

    def _masks(self, image: Path) -> tuple[Path, ...] | None:
        """Ground-truth files of one defective image; None where there are none for anything."""
        if self.layout == "no_masks":
            return None
        place = self._masks_of(image)
        if place not in self.entries:
            needed = "its masks there" if self.layout == "autovi" else "its mask"
            text = f"missing; the defective image {image} needs {needed}"
            found = f"a defective image without {place}"
            self.walk.note("missing-mask", image, text, named=place, detail=found)
        return tuple(self.entries.get(place, ()))

    def _orphans(self, tested: Collection[Path]) -> None:
        """Ground truth without its image is a misplaced file, not something to pass over.

        That of a good image is no orphan: some programs write an empty mask for each.
        """
        stems = {(s.path.parent.name, s.path.stem) for s in self.samples if s.split == "test"}
        for entry in self.entries:
            if entry in tested:
                continue
            home = entry.parent.name
            if self.layout == "mvtec" and (home, entry.stem) in stems:
                found = f"a mask of the image of its name that is not called {entry.stem}_mask.png"
                self.walk.note("orphaned-mask", entry, f"{found}; rename it")
                continue
            found = f"ground truth that belongs to no image in {self.place / 'test' / home}"
            self.walk.note("orphaned-mask", entry, f"{found}; add the image or remove this")
