"""How the tested parts of a category compare with its calibration, in all and at every station."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from common.evaluation.drift import FEWEST, Drift, compare_with_calibration
from common.evaluation.held_out.fence import within_fence
from common.evaluation.thresholds import Threshold, calibrate_threshold
from common.patchcore.station_threshold import own_judges

_ALARMING = ("watch", "refit")


@dataclass(frozen=True)
class StationScores:
    """Image scores of one category at one station: numbers, and nothing else of the images.

    Attributes
    ----------
    held_out : sequence of float
        Good training images that were kept out of the bank.
    good, defective : sequences of float
        Test images.
    suspected : int
        Of the held-out images, how many look unlike the station's others (see `audit_images`).
    """

    held_out: Sequence[float] = ()
    good: Sequence[float] = ()
    defective: Sequence[float] = ()
    suspected: int = 0


@dataclass(frozen=True)
class StationReport:
    """One category at one station.

    Attributes
    ----------
    threshold : Threshold or None
        The station's own; None if it held nothing out.
    good_images, false_alarms, defective_images, detections : int
        Its test images, and how many of them lie above the threshold of all stations together.
    drift : Drift or None
        Its good test images against a calibration; None without any.
    own_calibration : bool
        Whether that calibration is the station's own. Of fewer than five images it would say
        nothing: then it is that of all stations.
    apart : Drift or None
        Its held-out images against those of the other stations.
    own_judges : bool
        Whether its own threshold judges there, where somebody judges for it by name.
    """

    threshold: Threshold | None
    good_images: int
    false_alarms: int
    defective_images: int
    detections: int
    drift: Drift | None
    own_calibration: bool
    apart: Drift | None
    own_judges: bool = False

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`; what there is not is absent."""
        entry: dict[str, Any] = {}
        if self.threshold is not None:
            entry = {
                "value": self.threshold.value,
                "promised_false_alarm_rate": self.threshold.promised_false_alarm_rate,
                "upper_false_alarm_rate": self.threshold.upper_false_alarm_rate,
                "held_out_images": self.threshold.held_out_images,
                "note": self.threshold.note,
            }
        entry |= {
            "good_images": self.good_images,
            "false_alarms": self.false_alarms,
            "defective_images": self.defective_images,
            "detections": self.detections,
            "judged_by": "own" if self.own_judges else "merged",
        }
        if self.drift is not None:
            entry["drift"] = self.drift.to_json()
            entry["drift_calibration"] = "own" if self.own_calibration else "all stations"
        if self.apart is not None:
            entry["held_out_against_others"] = self.apart.to_json()
        return entry


@dataclass(frozen=True)
class CalibrationReport:
    """One category: all stations together, and each by itself.

    Attributes
    ----------
    drift : Drift or None
        All good test images against all held-out ones; None without any on a side.
    stations : dict of station to StationReport
        Empty for images in one place.
    """

    drift: Drift | None
    stations: dict[str, StationReport] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Keys of the block `threshold` in `metrics.json`."""
        entry: dict[str, Any] = {}
        if self.drift is not None:
            entry["drift"] = self.drift.to_json()
        if self.stations:
            entry["stations"] = {n: own.to_json() for n, own in sorted(self.stations.items())}
        return entry

    def sentences(
        self, category: str, everything: bool = False, *, with_model: bool = True
    ) -> list[str]:
        """What there is to say: what is more than chance, or `everything` of the category.

        Without a model of the run nobody is told how to judge with it.
        """
        found = []
        if self.drift is not None and (everything or self.drift.verdict in _ALARMING):
            found.append(
                f"{category}, good test images against the held-out ones: {self.drift.sentence}"
            )
        for name, station in sorted(self.stations.items()):
            if station.drift is not None and station.drift.verdict in _ALARMING:
                whose = "its own held-out ones" if station.own_calibration else "all held-out ones"
                found.append(
                    f"{category} at {name}, good test images against {whose}: "
                    f"{station.drift.sentence}"
                )
            if station.apart is not None and station.apart.verdict in _ALARMING:
                advice = f": judge with --station {name}" if with_model else ""
                found.append(f"{category} at {name}: {_apart(station.apart)}{advice}")
        return found


def report_calibration(
    threshold: Threshold | None,
    held_out: Sequence[float],
    good: Sequence[float],
    stations: Mapping[str, StationScores] | None = None,
    *,
    stale: bool = False,
    fenced: bool = False,
) -> CalibrationReport:
    """Compare the tested parts of a category with its calibration.

    Parameters
    ----------
    threshold : Threshold or None
        The one in use; None where nothing was held out: then there is nothing to compare.
    held_out, good : sequences of float
        Scores of all held-out images, and of all good test images.
    stations : mapping of station to StationScores, optional
        Their order changes nothing.
    stale : bool
        Whether the bank has grown since the held-out images were scored.
    fenced : bool
        Whether the stations' own thresholds leave out what lies beyond their own fences.

    Returns
    -------
    CalibrationReport
    """
    if threshold is None:
        return CalibrationReport(None)
    drift = None
    if good:
        drift = compare_with_calibration(good, held_out, threshold.value, stale=stale)
    known = stations or {}
    return CalibrationReport(
        drift, {name: _station(name, known, held_out, threshold, fenced) for name in known}
    )


def promise_notice(thresholds: Mapping[str, Threshold | None]) -> list[str]:
    """One sentence about all thresholds that cannot keep what was asked for; none if all can."""
    short = {
        category: threshold
        for category, threshold in sorted(thresholds.items())
        if threshold is not None
        and threshold.promised_false_alarm_rate > threshold.target_false_alarm_rate + 1e-9
    }
    if not short:
        return []
    target = next(iter(short.values())).target_false_alarm_rate
    needed = math.ceil(1 / target - 1e-9) - 1
    each = ", ".join(
        f"{category} {own.promised_false_alarm_rate:.1%} (up to {own.upper_false_alarm_rate:.0%} "
        f"by bad luck; {own.held_out_images} held out)"
        for category, own in short.items()
    )
    return [
        f"too few held-out images to promise {target:.1%} false alarms; promised are {each}. It "
        f"takes {needed} a category: more good training images or a higher calibration-fraction "
        "(`fedpatchcore check` says how many)"
    ]


def _station(
    name: str,
    stations: Mapping[str, StationScores],
    held_out: Sequence[float],
    merged: Threshold,
    fenced: bool,
) -> StationReport:
    own = stations[name]
    enough = len(own.held_out) >= FEWEST
    reference: Sequence[float] = held_out
    if enough:
        reference = within_fence(own.held_out).kept.tolist() if fenced else own.held_out
    others = [score for other in stations if other != name for score in stations[other].held_out]
    threshold = calibrate_threshold(own.held_out, merged.target_false_alarm_rate, fenced=fenced)
    return StationReport(
        threshold=threshold,
        good_images=len(own.good),
        false_alarms=_above(own.good, merged),
        defective_images=len(own.defective),
        detections=_above(own.defective, merged),
        drift=compare_with_calibration(own.good, reference, merged.value) if own.good else None,
        own_calibration=enough,
        apart=compare_with_calibration(own.held_out, others) if own.held_out and others else None,
        own_judges=threshold is not None and own_judges(asdict(threshold), asdict(merged)),
    )


def _above(scores: Sequence[float], threshold: Threshold) -> int:
    return sum(score > threshold.value for score in scores)


def _apart(apart: Drift) -> str:
    """What it means that a station's good parts score otherwise than the others'."""
    higher = apart.higher or 0.0
    if higher > 0.5:
        way, share, means = "higher", higher, "expect more false alarms there"
    else:
        way, share, means = "lower", 1 - higher, "defects may pass unseen there"
    return (
        f"{apart.verdict}: its {apart.images} held-out good images score {way} than the other "
        f"stations' {apart.calibration_images} in {share:.0%} of comparisons; with one threshold "
        f"for all {means}"
    )
