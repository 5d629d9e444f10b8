"""Faults of folders and names: what lies where it will not be looked for, or not as expected."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.check.findings import Finding, Kind
from common.check.survey import Survey
from common.check.tree import (
    Part,
    folders,
    is_broken_link,
    is_category,
    is_image_name,
    listing,
)
from common.data.images import IMAGE_SUFFIXES
from common.data.layout import GOOD

_SUFFIXES: Final = ", ".join(sorted(IMAGE_SUFFIXES))
_DEFECT_WORDS: Final = frozenset(
    [
        "anomalous",
        "anomaly",
        "bad",
        "bent",
        "broken",
        "crack",
        "cracked",
        "damage",
        "damaged",
        "defect",
        "defective",
        "dent",
        "dented",
        "faulty",
        "missing",
        "nok",
        "reject",
        "rejected",
        "scratch",
        "scratched",
    ]
)

NOT_A_CATEGORY: Final = Kind(
    "not-a-category",
    "error",
    "every folder in a data folder must be a category, with train/ or test/ in it",
    "move the folder away or mend the names in it",
)
MISPLACED: Final = Kind(
    "misplaced-file",
    "error",
    "a file outside the folders of images belongs to no split and no defect type",
    "move it to where it belongs, such as train/good, or remove it",
)
NESTED: Final = Kind(
    "double-nesting",
    "note",
    "the published zip files unpack like this, and it is understood",
    "nothing to do; moving the inner folder's contents up makes it plainer",
)
NESTED_TWICE: Final = Kind(
    "ambiguous-nesting",
    "error",
    "the folder has images of its own and a folder of its own name with more, and the inner ones "
    "are never read",
    "keep one of the two",
)
SPELLING: Final = Kind(
    "wrong-name",
    "error",
    "train, test, ground_truth and good are looked for in lower case",
    "rename the folder",
)
BAD_TRAIN: Final = Kind(
    "defects-in-train",
    "error",
    "the memory bank is built from everything in train/: a defect in it counts as normal for ever",
    "move the folder to test/, or away",
)
EMPTY: Final = Kind(
    "empty-folder",
    "error",
    "an empty folder is more often a failed copy than meant",
    "copy the images again or remove the folder",
)
NO_TRAIN: Final = Kind(
    "no-training-images",
    "warning",
    "without good training images no memory bank can be built for the category",
    "put good parts into train/good",
)
NO_GOOD_TEST: Final = Kind(
    "no-good-test-images",
    "warning",
    "without good test images there is no AUROC and no measured false-alarm rate",
    "keep some good parts in test/good that are not in train/good",
)
FOLDER_AMONG_IMAGES: Final = Kind(
    "folder-among-images",
    "error",
    "images in deeper folders are not read",
    "move the images up or the folder away",
)
NOT_AN_IMAGE_NAME: Final = Kind(
    "not-an-image-name",
    "error",
    f"only these files are read: {_SUFFIXES}",
    "convert the file or move it away",
)
BROKEN_LINK: Final = Kind(
    "broken-link",
    "error",
    "the link leads nowhere, so its image would be missing without a word",
    "mend or remove the link",
)
SAME_STEM: Final = Kind(
    "same-stem",
    "error",
    "two images of one name but for the ending would share their masks",
    "rename or remove one of them",
)
SUSPICIOUS_NAME: Final = Kind(
    "defect-like-name",
    "warning",
    "a defect among the good training images teaches the model that it is normal",
    "look at the image; move it to test/<defect> if it shows one, else rename it",
)


def strange_folders(survey: Survey) -> Iterator[Finding]:
    """Folders of the data folder that are no category."""
    for folder in survey.other_folders:
        yield NOT_A_CATEGORY.at(folder, "a folder with neither train/ nor test/")


def misplaced_files(survey: Survey) -> Iterator[Finding]:
    """Files where only folders are expected."""
    places = [survey.root, *(part.outer for part in survey.parts)]
    for place in dict.fromkeys([*places, *(part.place for part in survey.parts)]):
        for entry in listing(place):
            if entry.is_file() and is_image_name(entry):
                yield MISPLACED.at(entry, "an image outside train/ and test/")
    for part in survey.parts:
        for folder in folders(part.place):
            if folder.name.lower() in ("train", "test", "ground_truth"):
                for entry in listing(folder):
                    if entry.is_file():
                        yield MISPLACED.at(entry, f"a file directly in {folder.name}/")


def nesting(survey: Survey) -> Iterator[Finding]:
    """A category folder inside the category folder of the same name."""
    for part in survey.parts:
        inner = part.outer / part.outer.name
        if part.place != part.outer:
            yield NESTED.at(part.place, "a category folder inside one of the same name")
        elif is_category(inner):
            yield NESTED_TWICE.at(inner, "a second category folder inside the first")


def spelling(survey: Survey) -> Iterator[Finding]:
    """Train/, TEST/, Good/ and the like."""
    for part in survey.parts:
        for folder in folders(part.place):
            name = folder.name.lower()
            if name in ("train", "test", "ground_truth") and folder.name != name:
                yield SPELLING.at(folder, f"the name {folder.name!r}", f"rename it {name!r}")
            if name in ("train", "test"):
                for inner in folders(folder):
                    if inner.name.lower() == GOOD and inner.name != GOOD:
                        yield SPELLING.at(inner, f"the name {inner.name!r}", f"rename it {GOOD!r}")


def defects_in_train(survey: Survey) -> Iterator[Finding]:
    """Folders in train/ beside good/."""
    for part in survey.parts:
        for folder in folders(part.place / "train"):
            if folder.name.lower() != GOOD:
                yield BAD_TRAIN.at(folder, f"training images named {folder.name!r}")


def empty_folders(survey: Survey) -> Iterator[Finding]:
    """Folders in which there should be images."""
    for part in survey.parts:
        for split in ("train", "test"):
            home = part.place / split
            if home.is_dir() and not listing(home):
                yield EMPTY.at(home, "an empty folder")
            for folder in folders(home):
                if not listing(folder):
                    yield EMPTY.at(folder, "an empty folder")


def missing_splits(survey: Survey) -> Iterator[Finding]:
    """Categories that cannot be trained on, or whose false alarms cannot be measured."""
    for part in survey.parts:
        if not any(p.split == "train" and p.good for p in part.pictures):
            yield NO_TRAIN.at(part.place, "no image in train/good")
        tested = [picture for picture in part.pictures if picture.split == "test"]
        if tested and not any(picture.good for picture in tested):
            yield NO_GOOD_TEST.at(part.place, "defective test images, but none in test/good")


def strange_entries(survey: Survey) -> Iterator[Finding]:
    """What lies among images and is none."""
    for folder in _image_folders(survey):
        for entry in listing(folder):
            if is_broken_link(entry):
                yield BROKEN_LINK.at(entry, f"a link to {entry.readlink()}, which is not there")
            elif entry.is_dir():
                yield FOLDER_AMONG_IMAGES.at(entry, "a folder among images")
            elif not is_image_name(entry):
                yield NOT_AN_IMAGE_NAME.at(entry, "a file that is no image by its name")


def same_stems(survey: Survey) -> Iterator[Finding]:
    """Defective test images that differ only by their ending, where there are masks to share."""
    for part in survey.parts:
        if not part.truth.is_dir():
            continue
        stems: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for picture in part.pictures:
            if picture.split == "test" and not picture.good:
                stems[picture.defect, picture.path.stem].append(picture.path)
        for first, *others in stems.values():
            for other in others:
                yield SAME_STEM.at(other, f"the same name as {first.name}")


def defect_like_names(survey: Survey) -> Iterator[Finding]:
    """Good training images whose file names speak of a defect."""
    for part in survey.parts:
        own = {
            picture.defect.lower()
            for picture in part.pictures
            if picture.split == "test" and not picture.good
        }
        for picture in part.pictures:
            if picture.split == "train" and picture.good:
                word = _defect_word(picture.path.stem.lower(), own)
                if word:
                    yield SUSPICIOUS_NAME.at(
                        picture.path, f"a good training image whose name says {word!r}"
                    )


def _defect_word(stem: str, types: set[str]) -> str | None:
    """The first word of a name that stands for a defect; the category's own types first."""
    words = re.findall(r"[a-z]+", stem)
    joined = f"_{'_'.join(words)}_"
    for name in sorted(types):
        if f"_{'_'.join(re.findall(r'[a-z]+', name))}_" in joined:
            return name
    return next((word for word in words if word in _DEFECT_WORDS), None)


def _image_folders(survey: Survey) -> Iterator[Path]:
    """Folders whose every entry should be an image."""
    for part in survey.parts:
        for split in ("train", "test"):
            yield from folders(part.place / split)
        yield from _mask_folders(part)


def _mask_folders(part: Part) -> Iterator[Path]:
    for defect in folders(part.truth):
        if part.autovi:
            yield from folders(defect)
        else:
            yield defect
