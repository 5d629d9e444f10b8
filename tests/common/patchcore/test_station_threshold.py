"""Which threshold judges at a station: its own where it is good enough, and it is always said."""

from __future__ import annotations

from typing import Any

import pytest

from common.evaluation import calibrate_threshold, merge_thresholds
from common.patchcore.model_store import StationCalibration
from common.patchcore.station_threshold import ChosenThreshold, choose_threshold
from common.runs.record import threshold_facts

TARGET = 0.1


def chosen(station: str | None = "north", **held_out: list[float]) -> ChosenThreshold:
    """What judges bolts, when these stations have held out these scores."""
    stations = {
        name: StationCalibration(
            threshold_facts({"bolt": calibrate_threshold(scores, TARGET)}), {"bolt": scores}
        )
        for name, scores in held_out.items()
    }
    merged = {"bolt": merge_thresholds(held_out, TARGET)}
    everything = {"bolt": [score for scores in held_out.values() for score in scores]}
    return choose_threshold(threshold_facts(merged), everything, stations, "bolt", station)


def scores(count: int, above: float = 1.0) -> list[float]:
    return [above + 0.01 * number for number in range(count)]


def test_enough_images_keep_their_own() -> None:
    """Nine promise one in ten."""
    found = chosen(north=scores(9, 3.0), south=scores(9), west=scores(9))
    assert found.facts is not None
    assert found.facts["value"] == pytest.approx(3.08)
    assert list(found.calibration) == scores(9, 3.0)
    assert found.whose.startswith("north's own")


def test_too_few_images_are_judged_by_the_threshold_that_nobody_moves() -> None:
    found = chosen(north=scores(2, 3.0), south=scores(20), west=scores(20), east=scores(20))
    assert found.facts is not None
    assert found.facts["promised_with_liar"] < 0.2
    assert found.facts["value"] < 3
    assert found.whose == (
        "that of all 4 stations together, because the 2 good images that north held out would "
        "promise 33.3% by themselves (its own would be 3.01)"
    )
    assert len(found.calibration) == 62


def test_what_the_merged_one_promises_is_enough() -> None:
    """Four images a station support no target: the better promise judges."""
    few = {"north": scores(4, 3.0), "south": scores(4), "west": scores(4)}
    merged: Any = chosen(None, **few).facts
    own: Any = chosen(**few)
    promise = calibrate_threshold(scores(4), TARGET)
    assert promise is not None
    better = promise.promised_false_alarm_rate <= merged["promised_false_alarm_rate"]
    assert own.whose.startswith("north's own" if better else "that of all 3")


def test_a_merged_one_that_one_station_moves_never_takes_the_place_of_its_own() -> None:
    found = chosen(north=scores(2), south=scores(30, 9.0))
    assert found.facts is not None
    assert found.facts["value"] == pytest.approx(1.01)
    assert found.whose.startswith("north's own (the merged one is ")
    assert found.whose.endswith("; one station's word can move it)")
