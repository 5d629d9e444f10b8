"""All stations together and each by itself: rates, drift, and what is worth a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from common.evaluation import (
    StationScores,
    calibrate_threshold,
    promise_notice,
    report_calibration,
)
from common.evaluation.calibration_report import CalibrationReport


def ladder(start: float, count: int) -> list[float]:
    return [start + number / 100 for number in range(count)]


def report(stations: dict[str, StationScores], target: float = 0.05) -> CalibrationReport:
    held_out = [score for own in stations.values() for score in own.held_out]
    good = [score for own in stations.values() for score in own.good]
    return report_calibration(calibrate_threshold(held_out, target), held_out, good, stations)


def test_rates_are_those_at_the_merged_threshold() -> None:
    """Held out: 1.0 to 1.05 at north, 1.3 and 1.31 at south; the highest of all, 1.31, judges."""
    found = report(
        {
            "north": StationScores(ladder(1.0, 6), good=[1.0, 1.2, 1.4], defective=[1.3, 3.0]),
            "south": StationScores(ladder(1.3, 2), good=[1.3], defective=[1.31, 1.32, 1.33]),
        }
    )
    north, south = found.stations["north"], found.stations["south"]
    assert (north.good_images, north.false_alarms) == (3, 1)
    assert (north.defective_images, north.detections) == (2, 1)
    assert (south.good_images, south.false_alarms) == (1, 0)
    assert (south.defective_images, south.detections) == (3, 2)
    assert north.threshold is not None
    assert south.threshold is not None
    assert (north.threshold.value, south.threshold.value) == (1.05, 1.31)
    assert north.threshold.promised_false_alarm_rate == pytest.approx(1 / 7)
    assert south.threshold.promised_false_alarm_rate == pytest.approx(1 / 3)
    # Two held-out images say nothing of south alone: it is compared with all eight.
    assert (north.own_calibration, south.own_calibration) == (True, False)
    assert north.drift is not None
    assert south.drift is not None
    assert (north.drift.calibration_images, south.drift.calibration_images) == (6, 8)
    entry = found.to_json()["stations"]["south"]
    assert (entry["value"], entry["false_alarms"], entry["detections"]) == (1.31, 0, 2)
    assert entry["drift_calibration"] == "all stations"
    assert entry["drift"]["verdict"] == "unknown"


def test_the_station_whose_parts_changed_is_named_and_no_other() -> None:
    rng = np.random.default_rng(0)
    stations = {
        name: StationScores(list(rng.normal(5, 1, 30)), good=list(rng.normal(5, 1, 30)))
        for name in ("east", "north", "west")
    }
    assert report(stations).sentences("bolt") == []
    told = report(stations).sentences("bolt", everything=True)
    assert [text.split(":")[0] for text in told] == [
        "bolt, good test images against the held-out ones"
    ]
    changed = {**stations, "north": StationScores(stations["north"].held_out, good=ladder(8, 30))}
    found = report(changed)
    named = [text for text in found.sentences("bolt") if " at " in text.split(":")[0]]
    assert [text[:60] for text in named] == [
        "bolt at north, good test images against its own held-out one"
    ]
    assert "refit" in named[0]
    assert found.stations["north"].drift is not None
    assert found.stations["north"].drift.verdict == "refit"
    assert found.stations["east"].drift is not None
    assert found.stations["east"].drift.verdict == "unclear"  # of 30 images


@pytest.mark.parametrize(
    ("level", "words"),
    [(8.0, "score higher than the other stations' 40"), (2.0, "defects may pass unseen there")],
)
def test_a_station_unlike_the_others_is_told_to_judge_by_itself(level: float, words: str) -> None:
    stations = {
        "east": StationScores(ladder(5.0, 20)),
        "north": StationScores(ladder(level, 20)),
        "west": StationScores(ladder(5.005, 20)),
    }
    found = [text for text in report(stations).sentences("bolt") if "bolt at north" in text]
    assert len(found) == 1
    assert words in found[0]
    assert "judge with --station north" in found[0]
    # Where the run has no model there is nothing to judge with.
    alone = report(stations).sentences("bolt", with_model=False)
    assert found[0].removesuffix(": judge with --station north") in alone


def test_order_changes_nothing_and_nothing_held_out_is_nothing_to_say() -> None:
    stations = {
        "b": StationScores(ladder(2.0, 6), good=ladder(2.0, 5)),
        "a": StationScores(ladder(1.0, 6), good=ladder(1.0, 5), defective=[9.0]),
    }
    turned = dict(reversed(stations.items()))
    assert report(stations).to_json() == report(turned).to_json()
    nothing = report({"a": StationScores(good=[1.0])})
    assert (nothing.drift, nothing.stations, nothing.to_json()) == (None, {}, {})
    # A station without anything held out is still counted at the others' threshold.
    some = report({**stations, "c": StationScores(good=[0.5, 9.0])})
    entry = some.to_json()["stations"]["c"]
    assert "value" not in entry
    assert (entry["good_images"], entry["false_alarms"]) == (2, 1)


def test_thresholds_that_cannot_keep_the_target_are_told_in_one_sentence() -> None:
    good, short = calibrate_threshold(range(19), 0.05), calibrate_threshold(range(10), 0.05)
    assert promise_notice({"bolt": good, "nut": None}) == []
    (text,) = promise_notice({"nut": short, "bolt": good, "clip": calibrate_threshold([1], 0.05)})
    assert "clip 50.0% (up to 95% by bad luck; 1 held out), nut 9.1% (up to 26%" in text
    assert "It takes 19 a category" in text
    assert "bolt" not in text
