"""Whose threshold judges: that of one station, or that of all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # brings torch along, and the rule is asked for where nobody waits for that
    from common.patchcore.model_store import StationCalibration

ThresholdFacts = dict[str, Any]


@dataclass(frozen=True)
class ChosenThreshold:
    """The threshold of one category that is to be used.

    Attributes
    ----------
    facts : dict or None
        As in `SavedModel.thresholds`; None if there is none.
    calibration : sequence of float
        The scores that it rests on.
    whose : str
        Whose it is, in words; empty for a model without stations.
    """

    facts: ThresholdFacts | None
    calibration: Sequence[float]
    whose: str


def choose_threshold(
    thresholds: Mapping[str, ThresholdFacts],
    calibration: Mapping[str, Sequence[float]],
    stations: Mapping[str, StationCalibration],
    category: str,
    station: str | None = None,
) -> ChosenThreshold:
    """Take a station's own threshold where it is good enough, and the merged one otherwise.

    Parameters
    ----------
    thresholds, calibration, stations
        As in `SavedModel`.
    category : str
    station : str, optional
        A name in `stations`; without it the merged threshold is used.

    Returns
    -------
    ChosenThreshold
    """
    merged = thresholds.get(category)
    whose = f"that of all {len(stations)} stations together" if stations else ""
    of_all = ChosenThreshold(merged, calibration.get(category, ()), whose)
    if station is None:
        return of_all
    own = stations[station].thresholds.get(category)
    if own is None:
        return replace(
            of_all, whose=f"{whose}, because {station} held out no good image of {category}"
        )
    if merged is not None and not own_judges(own, merged):
        return replace(
            of_all,
            whose=f"{whose}, because the {images_of(own)} that {station} held out would promise "
            f"{own['promised_false_alarm_rate']:.1%} by themselves (its own would be "
            f"{own['value']:.4g})",
        )
    text = f"{station}'s own"
    if merged and own["promised_false_alarm_rate"] > merged["promised_false_alarm_rate"]:
        text += (
            f" (the merged one is {merged['value']:.4g} and promises "
            f"{merged['promised_false_alarm_rate']:.1%}, from {merged['held_out_images']} images"
        )
        text += ")" if is_protected(merged) else "; one station's word can move it)"
    return ChosenThreshold(own, stations[station].calibration.get(category, ()), text)


def own_judges(own: ThresholdFacts, merged: ThresholdFacts) -> bool:
    """Whether a station's own threshold judges there rather than the merged one.

    It does where its images support the target, or promise as much as the merged one does, and
    wherever nothing protects the merged one from what a single other station says.

    Parameters
    ----------
    own, merged : mapping
        Thresholds of one category, as in `SavedModel.thresholds`.
    """
    promised = own["promised_false_alarm_rate"]
    enough = max(own["target_false_alarm_rate"], merged["promised_false_alarm_rate"])
    return not is_protected(merged) or promised <= enough + 1e-9


def is_protected(merged: ThresholdFacts) -> bool:
    """Whether a merged threshold is bounded against what any single station says."""
    return merged.get("promised_with_liar") is not None


def images_of(threshold: ThresholdFacts) -> str:
    """How many images a threshold rests on, in words."""
    count = threshold["held_out_images"]
    return "1 good image" if count == 1 else f"{count} good images"


def unknown_station(name: str, known: Iterable[str]) -> str:
    """Say that a model keeps nothing of a station, and what it keeps."""
    names = ", ".join(sorted(known))
    if not names:
        return (
            f"--station {name}: the model keeps no thresholds per station (it was fitted in one "
            "place, or by an older version); leave the option out"
        )
    return f"--station {name}: the model knows no such station; it knows: {names}"
