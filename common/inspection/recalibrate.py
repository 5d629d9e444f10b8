"""A new threshold from good parts of today, by a model that is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common.config import Settings
from common.errors import InputError
from common.evaluation.held_out.fence import within_fence
from common.evaluation.thresholds import calibrate_threshold
from common.inspection.hand_threshold import Facts, HandSet, replaced
from common.patchcore import PatchCore
from common.patchcore.model_store import SavedModel
from common.patchcore.network.inputs import ImageInput

Progress = Callable[[int, int], None]


def recalibrate(
    folder: Path,
    images: Sequence[Path],
    category: str,
    *,
    by: str,
    rate: float | None = None,
    station: str | None = None,
    merged: bool = True,
    changes: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> HandSet:
    """Calibrate the threshold of a category anew, from good parts that the bank has not seen.

    Parameters
    ----------
    folder : Path
        Model folder. Not changed.
    images : sequence of Path
        Good parts, none of them a training image.
    category : str
    by : str
        Who does it; kept with the threshold.
    rate : float, optional
        Share of good parts that may be judged anomalous; by default what the threshold before was
        made for, or 5 % where that was set by hand.
    station, merged
        As in `set_threshold`.
    changes : dict of setting to value, optional
        Where and how to compute, see `PatchCore.load`.
    progress : callable (images done, images in all), optional

    Returns
    -------
    HandSet
        Its model's calibration scores are those of these images: drift is told from them, and the
        category is stale no more.

    Raises
    ------
    InputError
        Without an image, if one cannot be read, or was added to the bank.

    Notes
    -----
    Of copies one counts. The rule is that of every run, `calibrate_threshold` with the fence: a
    defective part among the good ones sets no threshold in silence.
    """
    saved = SavedModel.load(folder)
    target_rate(saved, category, rate)  # a wrong one is told before anything is judged
    model = PatchCore.load(folder, **(changes or {}))
    model.bank_name(category)
    contents: dict[str, Path] = {}
    for path in images:
        contents.setdefault(ImageInput(path).content_key(), path)
    if not contents:
        raise InputError("--from: no image found; expected good parts of today")
    if known := [path for key, path in contents.items() if key in added_images(saved)]:
        raise InputError(
            f"{known[0]}: was added to the bank ({len(known)} of {len(contents)} images were), so "
            "its score says nothing of new parts; give good parts that the bank has not seen"
        )
    scores = []
    for prediction in model.predict_each(list(contents.values()), category):
        scores.append(prediction.score)
        if progress is not None:
            progress(len(scores), len(contents))
    return from_scores(saved, category, scores, by=by, rate=rate, station=station, merged=merged)


def target_rate(saved: SavedModel, category: str, rate: float | None) -> float:
    """The false-alarm rate to aim at: as asked, or what the threshold before was made for.

    Raises
    ------
    InputError
        If it is no rate.
    """
    if rate is not None and not 0 < rate < 1:
        raise InputError(f"--rate {rate}: expected a share above 0 and below 1, as 0.05")
    before = saved.thresholds.get(category, {})
    return rate or (
        Settings().target_false_alarm_rate
        if not before or before.get("promised_false_alarm_rate", 1) >= 1 or "by" in before
        else float(before["target_false_alarm_rate"])
    )


def from_scores(
    saved: SavedModel,
    category: str,
    scores: Sequence[float],
    *,
    by: str,
    rate: float | None = None,
    station: str | None = None,
    merged: bool = True,
    what: str = "good parts",
) -> HandSet:
    """Set the threshold of a category by scores of good parts; the rest as in `recalibrate`.

    Parameters
    ----------
    saved : SavedModel
    category : str
    scores : sequence of float
        At least one, by the rows of this very model.
    by, rate, station, merged
        As in `recalibrate`.
    what : str
        What these parts are, for the reason that is kept.
    """
    threshold = calibrate_threshold(scores, target_rate(saved, category, rate), fenced=True)
    assert threshold is not None

    def facts_of(_before: Facts | None, _scores: Sequence[float]) -> Facts:
        return {key: value for key, value in asdict(threshold).items() if value is not None}

    made = replaced(
        saved,
        category,
        facts_of,
        reason=f"calibrated from {len(scores)} {what}",
        by=by,
        station=station,
        merged=merged,
        scores=within_fence(scores).kept.tolist(),
    )
    stale = tuple(name for name in saved.stale if name != category) if merged else saved.stale
    return replace(made, model=replace(made.model, stale=stale))


def added_images(saved: SavedModel) -> set[str]:
    """Sha256 of the images that were added to a bank."""
    earlier = saved.provenance.get("added", [])
    return {
        str(file["sha256"])
        for one in (earlier if isinstance(earlier, list) else [])
        for file in one.get("files", ())
    }
