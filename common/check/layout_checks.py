"""Folders and names that no run stops at, and that are worth a word all the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from common.check.findings import Finding, Kind
from common.check.survey import Survey

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

_GOOD_WORDS: Final = frozenset(
    ["bon", "clean", "fine", "goods", "gut", "io", "nominal", "normal", "ok", "okay", "passed"]
)

NESTED: Final = Kind(
    "double-nesting",
    "note",
    "the published zip files unpack like this, and it is understood",
    "nothing to do; moving the inner folder's contents up makes it plainer",
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
SUSPICIOUS_NAME: Final = Kind(
    "defect-like-name",
    "warning",
    "a defect among the good training images teaches the model that it is normal",
    "look at the image; move it to test/<defect> if it shows one, else rename it",
)
GOOD_LIKE: Final = Kind(
    "good-like-name",
    "warning",
    "every test folder but good is a defect type: good parts in it make every figure wrong",
    "rename it good if these are good parts",
)


def nesting(survey: Survey) -> Iterator[Finding]:
    """A category folder inside the category folder of the same name."""
    for part in survey.parts:
        if part.category.folder != part.outer:
            found = "a category folder inside one of the same name"
            yield NESTED.at(part.category.folder, found)


def missing_splits(survey: Survey) -> Iterator[Finding]:
    """Categories that cannot be trained on, or whose false alarms cannot be measured."""
    for part in survey.parts:
        place = part.category.folder
        if not part.training:
            yield NO_TRAIN.at(place, "no image in train/good")
        tested = sum(sample.split == "test" for sample in part.samples)
        if 0 < tested == len(part.defective):
            yield NO_GOOD_TEST.at(place, "defective test images, but none in test/good")


def defect_like_names(survey: Survey) -> Iterator[Finding]:
    """Good training images whose file names speak of a defect."""
    for part in survey.parts:
        own = {sample.defect_type for sample in part.defective}
        for path in part.training:
            word = _defect_word(path.stem, own)
            if word:
                yield SUSPICIOUS_NAME.at(path, f"a good training image whose name says {word!r}")


def good_like_names(survey: Survey) -> Iterator[Finding]:
    """Test folders that are called as good parts are, and count as a defect type."""
    for part in survey.parts:
        for folder in dict.fromkeys(sample.path.parent for sample in part.defective):
            if " ".join(_words(folder.name)) in _GOOD_WORDS:
                yield GOOD_LIKE.at(folder, f"test images named {folder.name!r} count as defective")


def _defect_word(stem: str, types: set[str]) -> str | None:
    """The first word of a name that stands for a defect; the category's own types first."""
    words = _words(stem)
    joined = f"_{'_'.join(words)}_"
    for name in sorted(types):
        own = _words(name)
        if own and f"_{'_'.join(own)}_" in joined:  # a type called 1 is in no name
            return name
    return next((word for word in words if word in _DEFECT_WORDS), None)


def _words(name: str) -> list[str]:
    """Words of letters, of any script, in small ones."""
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", name).lower())
