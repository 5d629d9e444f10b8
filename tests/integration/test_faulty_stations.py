"""Stations that fail, fall silent or send what nobody asked for: named, and the others go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from local_grid import Finished, Tamper
from tampering import garbled, nan_first, only, raising, with_facts, with_rows

from common.errors import InputError, RunError
from common.protocol.messages import BuildReply, SurveyReply

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

Run = Callable[..., Finished]

FAULTS: dict[str, tuple[Tamper, str, str]] = {
    "raises in the survey": (only("query", raising), "failed", "its program raised an error"),
    "raises": (only("train", raising), "failed", "RuntimeError"),
    "raises at the end": (only("evaluate", raising), "failed", "RuntimeError"),
    "silent in the survey": (only("query", lambda reply: None), "missing", "no answer within"),
    "silent": (only("train", lambda reply: None), "missing", "no answer within 7200 s"),
    "silent at the end": (only("evaluate", lambda reply: None), "missing", "no answer within"),
    "nan": (only("train", with_rows(nan_first)), "refused", "not finite"),
    "too many rows": (
        only("train", with_rows(lambda rows: rows, rows=999)),
        "refused",
        "999 rows, above its budget of",
    ),
    "too many bytes": (
        only("train", with_rows(lambda rows: np.repeat(rows, 9, axis=0), rows=999)),
        "refused",
        "were asked for",
    ),
    "more rows than told": (
        only("train", with_rows(lambda rows: rows, rows=1)),
        "refused",
        "float16 rows of shape",
    ),
    "dtype": (
        only("train", with_rows(lambda rows: rows.astype(">f2"))),
        "refused",
        ">f2 rows",
    ),
    "dimension": (only("train", with_rows(lambda rows: rows[:, :-1])), "refused", ", 383)"),
    "name": (
        only("train", with_facts(BuildReply, station="station-0")),
        "refused",
        "answered as 'station-0', was asked as 'station-1'",
    ),
    "dimension in the survey": (
        only("query", with_facts(SurveyReply, feature_dim=3)),
        "refused",
        "has features of 3 numbers",
    ),
    "no json": (only("evaluate", garbled), "refused", "sent an unusable answer: ScoreReply"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_misbehaving_station_is_named_and_the_others_go_on(run: Run, fault: str) -> None:
    tamper, status, reason = FAULTS[fault]
    done = run(tamper, min_stations=2)
    assert done.error is None
    assert done.run["status"] == "completed"
    names = {"0": "station-0", "1": "station-1", "2": "station-2"}
    if "silent in" in fault or "raises in" in fault:
        names["1"] = "node-2"  # it never told its name
    odd = done.stations[names["1"]]
    assert odd["status"] == status
    assert reason in odd["reason"]
    assert "/data" not in odd["reason"]
    assert [done.stations[names[i]]["status"] for i in "02"] == ["used", "used"]
    assert any("used 2 of 3, " in notice for notice in done.run["notices"])
    stays = [notice for notice in done.run["notices"] if "left after its rows" in notice]
    if "at the end" in fault or fault == "no json":
        assert len(stays) == 1
    else:
        # Nothing of it is in the bank: the run equals one without that station's rows.
        assert stays == []
        chosen = done.contributions.get("station-1", {"rows_chosen": 0})["rows_chosen"]
        assert chosen == 0
    counted = sum(m["counts"]["images"] for m in done.metrics.values())
    assert counted < 14  # its test images are not there


@pytest.mark.parametrize("fault", ["raises in the survey", "silent", "nan"])
def test_below_the_quorum_the_run_fails_clearly_and_leaves_no_model(run: Run, fault: str) -> None:
    tamper, status, _ = FAULTS[fault]
    done = run(tamper)  # min-stations = 0: all that were asked
    assert isinstance(done.error, RunError)
    assert done.run["status"] == "failed"
    assert done.run["error"] == str(done.error)
    assert "2 of 3 stations are left, min-stations asks for all 3" in done.run["error"]
    assert f" {status}: " in done.run["error"]
    assert {path.name for path in done.folder.iterdir()} & {"model", "evaluation"} == set()


def test_a_station_lost_in_the_second_round_keeps_its_first_rows_and_is_named(run: Run) -> None:
    calls = []

    def second_time(reply: Message) -> Message | None:
        calls.append(reply)
        return reply if len(calls) == 1 else None

    done = run(only("train", second_time), min_stations=2, num_server_rounds=2)
    assert done.run["status"] == "completed"
    assert done.stations["station-1"]["status"] == "missing"
    chosen = done.contributions["station-1"]["rows_chosen"]
    assert chosen > 0
    assert (
        f"station-1 left after its rows had been merged: {chosen} of them are in the bank, its "
        "test images are not counted"
    ) in done.run["notices"]


def test_every_station_failing_alike_tells_their_reason(run: Run, parts: Path) -> None:
    done = run(data_root=str(parts / "nowhere"))
    assert isinstance(done.error, RunError)
    assert "nowhere: no such data folder" in done.run["error"]
    assert done.run["settings"]["data-root"] == str(parts / "nowhere")


def test_server_evaluation_without_test_images_fails_before_the_stations_work(
    run: Run, parts: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(parts / "pipe_clip" / "train", bare / "pipe_clip" / "train")
    done = run(data_root=str(bare), evaluation="server", weights="random")
    assert isinstance(done.error, InputError)
    assert "holds no test image" in done.run["error"]
    assert done.grid.kinds == []
