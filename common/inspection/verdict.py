"""The threshold that judges, and the colour scale that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.errors import InputError
from common.patchcore import PatchCore
from common.patchcore.station_threshold import (
    ChosenThreshold,
    choose_threshold,
    unknown_station,
)

LOWEST, HIGHEST = 0.5, 2.0
"""Ends of the colour scale, in thresholds."""


@dataclass(frozen=True)
class Rule:
    """How images are judged.

    Attributes
    ----------
    category : str or None
    threshold : float or None
        An image is anomalous if its score is above; None: there are scores and no verdicts.
    limits : (float, float)
        Distances at the ends of the colour scale, the same for all images of the model.
    note : str
        Where the threshold comes from and what it promises, in a sentence.
    calibration : sequence of float
        Scores of the held-out good images that today's are to be compared with.
    stale : bool
        Whether the bank has grown since these were scored.
    """

    category: str | None
    threshold: float | None
    limits: tuple[float, float]
    note: str
    calibration: Sequence[float] = ()
    stale: bool = False


def choose_rule(
    model: PatchCore,
    category: str | None,
    threshold: float | None = None,
    station: str | None = None,
) -> Rule:
    """Find the threshold by which a model judges a category.

    Parameters
    ----------
    model : PatchCore
    category : str or None
        May be left out if the model has one bank.
    threshold : float, optional
        Used instead of the model's own.
    station : str, optional
        Judge by this station's own threshold, where it has one; by default by that of all
        stations together. If the station has one category, that is the category.

    Returns
    -------
    Rule
        A shared bank of several categories, without `category`, judges by the highest of their
        thresholds: the promise then holds for each of them.

    Raises
    ------
    InputError
        If the model does not know the category or station, or has several banks and none was
        named.
    """
    if station is not None:
        if model.uncalibrated:
            raise InputError(f"--station {station}: {model.uncalibrated}; leave one of them out")
        if station not in model.stations:
            raise InputError(unknown_station(station, model.stations))
        own = model.stations[station].thresholds
        if category is None and len(own) == 1:
            category = next(iter(own))
    if category is None and len(model.banks) > 1:
        raise InputError(
            f"the model has banks for {', '.join(sorted(model.banks))}; say which with --category"
        )
    name = model.bank_name(category)
    known = model.categories or tuple(model.thresholds)
    if category is not None and known and category not in known:
        raise InputError(
            f"the model was not built for category {category!r}; it knows: {', '.join(known)}"
        )
    if category is None and len(known) == 1:
        category = known[0]
    if threshold is not None:
        if not (np.isfinite(threshold) and threshold > 0):
            raise InputError(f"--threshold {threshold}: expected a distance above 0")
        calibration = _chosen(model, category, station).calibration if category else ()
        note = "the threshold was given by hand"
        stale = bool(calibration) and category in model.stale
        return Rule(category, threshold, _limits(threshold), note, calibration, stale)
    if category is None and (candidates := _candidates(model, station)):
        # The part is not known: only the highest threshold keeps every part's promise.
        highest = max(candidates, key=lambda name: float(candidates[name]["value"]))
        value, note = float(candidates[highest]["value"]), str(candidates[highest].get("note", ""))
        if len(candidates) > 1:
            note = (
                f"the highest of {len(candidates)} categories' thresholds, that of {highest}: "
                f"{note}"
            )
        return Rule(None, value, _limits(value), note, stale=highest in model.stale)
    chosen = _chosen(model, category or "", station)
    if chosen.facts is None:
        return Rule(
            category,
            None,
            _limits(model.radii.get(name) or _spread(model, name)),
            f"the model has no threshold {'for ' + category if category else 'of any category'}: "
            f"{_why_none(model)}",
        )
    value, note = float(chosen.facts["value"]), str(chosen.facts.get("note", ""))
    whose = f"{chosen.whose}: " if chosen.whose else ""
    stale = category in model.stale
    return Rule(category, value, _limits(value), f"{whose}{note}", chosen.calibration, stale)


def _why_none(model: PatchCore) -> str:
    """What left the model without a threshold, and what would help, by what it tells of itself."""
    if model.uncalibrated:
        return f"{model.uncalibrated}; leave image-score out"
    spare = (
        "a station holds an image of a category out only if it has two or more of it, and none "
        "had; fit it again with more training images, or, all in one place, with num-stations=1"
    )
    fraction = model.provenance.get("calibration_fraction")
    if fraction is None:
        return (
            "no good image was held out when it was fitted. If calibration-fraction was 0, fit it "
            f"again with a higher one; if not, {spare}"
        )
    if fraction == 0:
        return (
            "it was fitted with calibration-fraction 0, which holds no good image out; fit it "
            "again with a higher one, as 0.1"
        )
    return f"it was fitted with calibration-fraction {fraction:g}, but {spare}"


def scores_alone(rule: Rule) -> Rule:
    """Take the verdicts out of a rule: what is left are scores and pictures."""
    return Rule(rule.category, None, rule.limits, "scores without verdicts, as asked for")


def _chosen(model: PatchCore, category: str, station: str | None) -> ChosenThreshold:
    return choose_threshold(model.thresholds, model.calibration, model.stations, category, station)


def _candidates(model: PatchCore, station: str | None) -> Mapping[str, dict[str, Any]]:
    """Thresholds of the categories that an image may show."""
    if station is None:
        return model.thresholds
    return {
        name: facts
        for name in model.thresholds
        if (facts := _chosen(model, name, station).facts) is not None
    }


def _limits(distance: float) -> tuple[float, float]:
    return LOWEST * distance, HIGHEST * distance


def _spread(model: PatchCore, bank: str) -> float:
    """How far the bank's rows lie from their mean: the only scale left without a radius."""
    rows = np.asarray(model.banks[bank], dtype=np.float32)
    return float(np.sqrt(rows.var(axis=0, dtype=np.float64).sum())) or 1.0
