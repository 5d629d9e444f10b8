"""Parts that people have reviewed, as good parts to set a threshold by."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from common.errors import InputError
from common.line.journal import Entry, JournalReader
from common.line.journal.recorded_models import models_in
from common.patchcore.model_store import SHARED, SavedModel, bank_of

_PAGE: Final = 1000


@dataclass
class Reviewed:
    """Scores of the reviewed parts of a category.

    Attributes
    ----------
    good, defective : dict of image sha256 to score
        Of each content the latest part counts.
    rejected_good : set of str
        Those good ones that had been judged anomalous.
    unsure : int
        Parts that were reviewed, and nobody knows.
    others : int
        Parts that other rows judged: another model, or the same one before it grew.
    """

    good: dict[str, float] = field(default_factory=dict)
    defective: dict[str, float] = field(default_factory=dict)
    rejected_good: set[str] = field(default_factory=set)
    unsure: int = 0
    others: int = 0


def same_rows(model: Path, place: Path, category: str) -> set[str]:
    """Sha256 of the models that give a part of this category the very same score.

    Parameters
    ----------
    model : Path
        Folder of the model that is to get a threshold.
    place : Path
        Where its other versions are: a station's models folder, or the model's own folder.
    category : str

    Returns
    -------
    set of str
        A model whose thresholds alone are others has the same rows.
    """
    own, found = SavedModel.load(model), set()
    for sha256, folder in models_in(place).items():
        try:
            other = SavedModel.load(folder)
        except InputError:
            continue  # damaged meanwhile
        bank = SHARED if SHARED in own.banks else bank_of(category)
        if (
            bank in own.banks
            and bank in other.banks
            and (own.space.fingerprint, own.image_score)
            == (other.space.fingerprint, other.image_score)
            and np.array_equal(own.banks[bank], other.banks[bank])
        ):
            found.add(sha256)
    return found


def reviewed_scores(journal: JournalReader, category: str, models: Collection[str]) -> Reviewed:
    """Read what people said of a category's parts.

    Parameters
    ----------
    journal : JournalReader
    category : str
    models : collection of str
        Sha256 of the models whose scores count; see `same_rows`.
    """
    found, after = Reviewed(), None
    while True:
        page = journal.parts(category=category, reviewed=True, after=after, limit=_PAGE)
        for entry in page:
            _take(found, entry, models)
        if len(page) < _PAGE:
            return found
        after = page[-1].id


def _take(found: Reviewed, entry: Entry, models: Collection[str]) -> None:
    """The newest come first: an older part of the same content says nothing more."""
    verdict, review = entry.verdict, entry.review
    if review is None or verdict.score is None:
        return
    if review.verdict == "unsure":
        found.unsure += 1
        return
    if verdict.model_sha256 not in models:
        found.others += 1
        return
    content = verdict.image_sha256
    if content in found.good or content in found.defective:
        return
    if review.verdict == "defect":
        found.defective[content] = verdict.score
        return
    found.good[content] = verdict.score
    if verdict.anomalous:
        found.rejected_good.add(content)


def require_enough(found: Reviewed, rate: float, category: str) -> None:
    """Refuse to set a threshold by fewer good parts than the rate takes.

    Raises
    ------
    InputError
        Saying how many are missing.
    """
    needed = math.ceil(1 / rate - 1e-9) - 1
    if (missing := needed - len(found.good)) <= 0:
        return
    words = [
        f"{category}: {len(found.good)} parts were reviewed as good and judged by the rows of this "
        f"model; a false-alarm rate of {rate:.3g} takes {needed}, so {missing} are missing"
    ]
    if found.others:
        words.append(f"{found.others} reviewed parts were judged by other rows and do not count")
    words.append("review more parts that passed, too, or give a higher --rate")
    raise InputError("; ".join(words))


def remarks(found: Reviewed, threshold: float) -> list[str]:
    """What to know of a threshold that was set so.

    Parameters
    ----------
    found : Reviewed
    threshold : float
    """
    words = []
    if found.defective:
        above = sum(score > threshold for score in found.defective.values())
        words.append(f"of {len(found.defective)} parts reviewed as defective {above} lie above it")
    if found.rejected_good:
        words.append(
            f"{len(found.rejected_good)} of the {len(found.good)} good parts had been rejected: "
            "the promise holds if the parts were picked for review by chance; where people look at "
            "rejected parts above all, the threshold comes out too high"
        )
    return words
