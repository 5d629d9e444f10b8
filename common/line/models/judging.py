"""A station judges its own images by a new model and by the active one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.data.samples import Sample
from common.errors import InputError, MissingWeightsError
from common.line.models.acceptance import Acceptance, JudgedImages, judge_acceptance
from common.line.models.known_scores import KnownScores, contents_of, scores_key

if TYPE_CHECKING:  # brings torch along, and a list of versions needs none
    from common.patchcore.model import PatchCore
    from common.patchcore.network.feature_cache import FeatureCache

Progress = Callable[[int, int], None]

_PATH: Final = re.compile(r"(?<![\w.])~?/[^\s,;:'\")]+")


def accept_version(
    new: Path,
    active: Path | None,
    *,
    held_out: Sequence[Sample],
    test: Sequence[Sample] = (),
    station: str | None = None,
    compared_with: str | None = None,
    cache: FeatureCache | None = None,
    known: KnownScores | None = None,
    changes: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Acceptance:
    """Judge a new model by a station's own images, and the active model by the same ones.

    Parameters
    ----------
    new : Path
        Model folder.
    active : Path or None
        Folder of the model that judges now; None for the station's first.
    held_out : sequence of Sample
        The station's good training images that are kept out of the bank (`split_holdout`), of
        whichever categories it holds.
    test : sequence of Sample
        Its labelled test images, where it has some.
    station : str, optional
        Judge by this station's own threshold, where the model knows it and prefers it
        (`choose_threshold`), as it will at the line.
    compared_with : str, optional
        Name of the active version, for the words.
    cache : FeatureCache, optional
        Keeps the features: of two models in one feature space each image goes through the network
        once.
    known : KnownScores, optional
        Scores that banks have given to images before: only what is missing is judged, and kept.
    changes : dict of setting to value, optional
        Where and how to compute here, as `weights` (this station's file), `device` and
        `batch_size`; see `PatchCore.load`.
    progress : callable (images done, images in all), optional

    Returns
    -------
    Acceptance
        Refused, too, if the new model is damaged, or was built in another feature space than the
        station's weights give. Its sentences name no path and no image.

    Notes
    -----
    One model is in memory at a time, and one image's map; of the images only their scores are
    kept. An active model that cannot be used any more (as after a change of weights) is no reason
    to refuse the new one: then nothing is compared, which is said. Images that cannot be read are
    left out and counted.
    """
    told = _Told(progress, (len(held_out) + len(test)) * (1 if active is None else 2))
    try:
        ours, unread = _judged(new, held_out, test, station, cache, known, changes, told)
    except InputError as error:
        return judge_acceptance({}, space_fault=_words(error, new), compared_with=compared_with)
    theirs, gone = None, ""
    if active is not None:
        try:
            theirs, _ = _judged(active, held_out, test, station, cache, known, changes, told)
        except InputError as error:
            gone = f"the active model cannot be used to compare ({_words(error, active)})"
    if theirs is not None:
        ours, theirs = _same_images(ours, theirs)
    unknown = [*([gone] if gone else []), *unread]
    plain = {name: own.scores() for name, own in ours.items()}
    other = None if theirs is None else {name: own.scores() for name, own in theirs.items()}
    return judge_acceptance(plain, other, compared_with=compared_with, unknown=unknown)


class _Scored:
    """Scores of one category by image, so that two models are compared on the same ones."""

    def __init__(self, threshold: dict[str, Any] | None) -> None:
        self.threshold = threshold
        self.held_out: list[float] = []
        self.test: dict[tuple[int, Path], float] = {}

    def scores(self) -> JudgedImages:
        """Scores without the images' names."""
        good = [score for (label, _), score in self.test.items() if label == 0]
        defective = [score for (label, _), score in self.test.items() if label == 1]
        return JudgedImages(self.held_out, good, defective, self.threshold)


def _judged(
    folder: Path,
    held_out: Sequence[Sample],
    test: Sequence[Sample],
    station: str | None,
    cache: FeatureCache | None,
    known: KnownScores | None,
    changes: dict[str, Any] | None,
    told: _Told,
) -> tuple[dict[str, _Scored], list[str]]:
    """Scores of a model by category, and what it could not judge."""
    from common.patchcore.model import PatchCore

    model = PatchCore.load(folder, cache=cache, **(changes or {}))
    found: dict[str, _Scored] = {}
    unknown = []
    for category in sorted({sample.category for sample in (*held_out, *test)}):
        own = [sample for sample in held_out if sample.category == category]
        tested = [sample for sample in test if sample.category == category]
        if not _knows(model, category):
            told.past(len(own) + len(tested))
            unknown.append(f"{category} is a part that the model does not know")
            continue
        scored, unread = model.source.whole(
            _score, model, category, own, tested, _threshold(model, category, station), known
        )
        found[category] = scored
        if unread:
            unknown.append(f"{unread} images of {category} could not be read")
        told.past(len(own) + len(tested))
    return found, unknown


def _score(
    model: PatchCore,
    category: str,
    held_out: Sequence[Sample],
    test: Sequence[Sample],
    threshold: dict[str, Any] | None,
    known: KnownScores | None,
) -> tuple[_Scored, int]:
    """Judge the images of one category; afresh, if a GPU fails half-way."""
    scored = _Scored(threshold)
    both = _not_twice(model, category, [*held_out, *test], known)
    kept, tested = both[: len(held_out)], both[len(held_out) :]
    scored.held_out = [score for score in kept if score is not None]
    for sample, score in zip(test, tested, strict=True):
        if score is not None:
            scored.test[sample.label, sample.path] = score
    return scored, (kept + tested).count(None)


def _not_twice(
    model: PatchCore, category: str, samples: Sequence[Sample], known: KnownScores | None
) -> list[float | None]:
    """One score an image: what its bank has said before, else what it says now; see `_each`."""
    if known is None:
        return _each(model, category, samples)
    key, contents = scores_key(model, category), contents_of(one.path for one in samples)
    before = known.get(key)
    asked = [one for one in samples if contents.get(one.path) not in before]
    new = dict(zip([one.path for one in asked], _each(model, category, asked), strict=True))
    known.add(
        key,
        {
            contents[path]: score
            for path, score in new.items()
            if score is not None and path in contents
        },
    )
    return [new[one.path] if one.path in new else before[contents[one.path]] for one in samples]


def _each(model: PatchCore, category: str, samples: Sequence[Sample]) -> list[float | None]:
    """One score an image; None for one that cannot be read, and the rest goes on."""
    scores: list[float | None] = []
    while len(scores) < len(samples):
        left = [sample.path for sample in samples[len(scores) :]]
        try:
            for prediction in model.predict_each(left, category):
                scores.append(prediction.score)
        except InputError:
            # The stream reads ahead: it may have failed at a later image than this one.
            try:
                path = samples[len(scores)].path
                scores.append(model.predict_single(path, category).score)
            except InputError:
                scores.append(None)
    return scores


def _knows(model: PatchCore, category: str) -> bool:
    """A shared bank judges any part, but only of those it was built of does that say something."""
    return model.can_judge(category) and (not model.categories or category in model.categories)


def _threshold(model: PatchCore, category: str, station: str | None) -> dict[str, Any] | None:
    from common.patchcore.station_threshold import choose_threshold

    known = station if station in model.stations else None
    return choose_threshold(
        model.thresholds, model.calibration, model.stations, category, known
    ).facts


def _same_images(
    ours: dict[str, _Scored], theirs: dict[str, _Scored]
) -> tuple[dict[str, _Scored], dict[str, _Scored]]:
    """Leave the test images out that one of two models did not judge; both in one order."""
    for name in set(ours) & set(theirs):
        one, other = ours[name], theirs[name]
        both = [image for image in one.test if image in other.test]
        one.test = {image: one.test[image] for image in both}
        other.test = {image: other.test[image] for image in both}
    return ours, theirs


def _words(error: InputError, folder: Path) -> str:
    """What is wrong with a model, without a path: the sentence may leave the station."""
    if isinstance(error, MissingWeightsError):
        return "this station has no weights for the model's network"
    text = str(error).removeprefix(f"{folder}: ").removeprefix(f"{folder}/")
    return _PATH.sub("<path>", text)


class _Told:
    """Progress over all images of both models."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def past(self, images: int) -> None:
        self.done += images
        if self.progress is not None:
            self.progress(self.done, self.total)
