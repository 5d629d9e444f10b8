"""Folders and names that no run stops at, and that are worth a word all the same."""

from __future__ import annotations

import re
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
        own = {sample.defect_type.lower() for sample in part.defective}
        for path in part.training:
            word = _defect_word(path.stem.lower(), own)
            if word:
                yield SUSPICIOUS_NAME.at(path, f"a good training image whose name says {word!r}")


def _defect_word(stem: str, types: set[str]) -> str | None:
    """The first word of a name that stands for a defect; the category's own types first."""
    words = re.findall(r"[a-z]+", stem)
    joined = f"_{'_'.join(words)}_"
    for name in sorted(types):
        if f"_{'_'.join(re.findall(r'[a-z]+', name))}_" in joined:
            return name
    return next((word for word in words if word in _DEFECT_WORDS), None)
