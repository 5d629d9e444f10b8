"""Images that are to be added to a bank: which of them are new, and what the model says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from common.inspection.verdict import choose_rule
from common.patchcore import PatchCore
from common.patchcore.network.inputs import ImageInput

_NAMED: Final = 10
"""So many files are named in one line."""


@dataclass(frozen=True)
class NewImage:
    """An image that is to be added.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of its file.
    score : float
        By the model as it was.
    threshold : float or None
        Of the model, for this image's part; None if it has none.
    """

    path: Path
    sha256: str
    score: float
    threshold: float | None

    @property
    def anomalous(self) -> bool:
        """Whether the model calls it a defect; not, if it has no threshold."""
        return self.threshold is not None and not self.score <= self.threshold


def fresh_images(
    images: Iterable[Path], bank: str, radius: float | None, added: Iterable[Mapping[str, Any]]
) -> dict[str, Path]:
    """Images whose content is new to a bank.

    Parameters
    ----------
    images : iterable of Path
    bank : str
    radius : float or None
        The bank's own.
    added : iterable of facts
        What the model keeps of earlier additions. Images that such a one covered only in part,
        because it was to add no more rows, are new.

    Returns
    -------
    dict of sha256 to Path
        In the order given, each content once.

    Raises
    ------
    InputError
        If an image cannot be read.
    """
    covered = {
        str(file["sha256"])
        for one in added
        if one["bank"] == bank and (radius is None or one["reach"] <= radius)
        for file in one.get("files", ())
    }
    found: dict[str, Path] = {}
    for path in images:
        found.setdefault(ImageInput(path).content_key(), path)
    return {content: path for content, path in found.items() if content not in covered}


def judge_new(
    model: PatchCore, category: str | None, images: Mapping[str, Path]
) -> tuple[NewImage, ...]:
    """Score images with a model, and take the threshold that `inspect` would judge them by.

    Parameters
    ----------
    model : PatchCore
    category : str or None
    images : mapping of sha256 to Path

    Returns
    -------
    tuple of NewImage
        In order.
    """
    threshold = choose_rule(model, category).threshold
    # Not from the rounded features that are selected from: the very scores of `inspect`.
    predictions = model.predict_each(images.values(), category)
    return tuple(
        NewImage(path, content, prediction.score, threshold)
        for (content, path), prediction in zip(images.items(), predictions, strict=True)
    )


def refuse_suspicious(judged: Sequence[NewImage]) -> None:
    """Refuse images that the model calls anomalous.

    Parameters
    ----------
    judged : sequence of NewImage

    Raises
    ------
    InputError
        Naming them and their scores, the highest first.
    """
    above = sorted((one for one in judged if one.anomalous), key=lambda one: -one.score)
    if not above:
        return
    named = ", ".join(f"{one.path} ({one.score:.4g})" for one in above[:_NAMED])
    more = f" and {len(above) - _NAMED} more (--dry-run lists all)" if len(above) > _NAMED else ""
    raise InputError(
        f"{len(above)} of {len(judged)} images score above the threshold "
        f"{above[0].threshold:.4g}: "
        f"{named}{more}. A defect that is added counts as good from then on: look at them and "
        "leave the defective ones out, or say --yes to add all of them"
    )
