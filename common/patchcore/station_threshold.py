"""Whose threshold judges: that of one station, or that of all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    """Take a station's own threshold where it has one, and the merged one otherwise.

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
    if station is None:
        return ChosenThreshold(merged, calibration.get(category, ()), whose)
    own = stations[station].thresholds.get(category)
    if own is None:
        return ChosenThreshold(
            merged,
            calibration.get(category, ()),
            f"{whose}, because {station} held out no good image of {category}",
        )
    text = f"{station}'s own"
    if merged and own["promised_false_alarm_rate"] > merged["promised_false_alarm_rate"]:
        text += (
            f" (the merged one is {merged['value']:.4g} and promises "
            f"{merged['promised_false_alarm_rate']:.1%}, from {merged['held_out_images']} images)"
        )
    return ChosenThreshold(own, stations[station].calibration.get(category, ()), text)


def unknown_station(name: str, known: Iterable[str]) -> str:
    """Say that a model keeps nothing of a station, and what it keeps."""
    names = ", ".join(sorted(known))
    if not names:
        return (
            f"--station {name}: the model keeps no thresholds per station (it was fitted in one "
            "place, or by an older version); leave the option out"
        )
    return f"--station {name}: the model knows no such station; it knows: {names}"
