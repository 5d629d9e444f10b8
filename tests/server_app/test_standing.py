"""How a run stands is in its record from the first second, and whatever ends it says so there."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from server_cases import roster, settings, survey

from common.errors import RunError
from common.runs.unfinished import is_held
from server_app import standing as module
from server_app.outcome import Outcome
from server_app.run_writer import so_far, write_outcome, write_refused
from server_app.standing import Standing

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("plain_files")


@pytest.fixture
def outcome() -> Outcome:
    return Outcome(roster(survey("a", real=True), survey("b", real=True)))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path))
    return tmp_path


def standing(runs: Path, outcome: Outcome) -> Standing:
    chosen = settings()
    return Standing(
        runs / "77",
        outcome,
        lambda: so_far(chosen, outcome, run_id=77, started=START, deployed=True),
    )


def record(runs: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs / "77" / "run.json").read_text())
    return found


def end(outcome: Outcome, **changes: Any) -> Path:
    return write_outcome(settings(), outcome, run_id=77, started=START, deployed=True, **changes)


def test_every_step_and_every_answer_renews_the_record(runs: Path, outcome: Outcome) -> None:
    with standing(runs, outcome) as now:
        first = record(runs)
        assert (first["status"], first["finished"]) == ("running", None)
        assert first["progress"]["step"] == "wait for the stations"
        assert is_held(runs / "77")
        now.asked("build banks", ["a", "b", "b"], 2)
        told = record(runs)["progress"]
        assert (told["step"], told["round"]) == ("build banks", 2)
        assert [(s["name"], s["state"], s["seconds"]) for s in told["stations"]] == [
            ("a", "asked", None), ("b", "asked", None),
        ]  # fmt: skip
        now.answered("b")  # the first of its two parts
        now.answered("a")
        states = {s["name"]: s["state"] for s in record(runs)["progress"]["stations"]}
        assert states == {"a": "answered", "b": "asked"}
        now.answered("b", failed=True)
        stations = record(runs)["progress"]["stations"]
        assert [s["state"] for s in stations] == ["answered", "failed"]
        assert all(s["seconds"] >= 0 for s in stations)
        now.step("merge the banks", 2)
        with now.writing(failed=True):
            end(outcome, error="2 of 3 stations are left")
    done = record(runs)
    assert (done["status"], done["error"]) == ("failed", "2 of 3 stations are left")
    assert done["progress"]["step"] == "merge the banks"
    assert done.keys() == first.keys()
    assert (runs / "77" / "contributions.json").is_file()
    assert [path.name for path in runs.iterdir()] == ["77"]
    assert not is_held(runs / "77")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_record_and_then_the_process(
    runs: Path, outcome: Outcome, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flowers: list[int] = []
    before = signal.signal(number, lambda got, _: flowers.append(got))
    monkeypatch.setattr(module, "cause_of_end", lambda run_id: "by the administrator")
    try:
        with standing(runs, outcome) as now:
            now.asked("score", ["a"], 1)
            os.kill(os.getpid(), number)
            assert flowers == [number]  # Flower's own goodbye comes after the record
    finally:
        signal.signal(number, before)
    done = record(runs)
    assert done["status"] == "stopped"
    who = "the administrator" if number == signal.SIGINT else "the end of the server's executor"
    assert done["error"].startswith(f"stopped by {who} at step score of round 1 (since ")
    assert "plant run --resume 77" in done["error"]


def test_a_signal_waits_for_the_final_files(runs: Path, outcome: Outcome) -> None:
    flowers: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: flowers.append(record(runs)["status"]))
    try:
        with standing(runs, outcome) as now, now.writing(failed=True):
            os.kill(os.getpid(), signal.SIGTERM)
            assert flowers == []
            end(outcome, error="too few")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert flowers == ["failed"]


def test_files_that_cannot_be_written_are_told_in_the_record(runs: Path, outcome: Outcome) -> None:
    now = standing(runs, outcome)
    with pytest.raises(ValueError, match="odd"), now, now.writing(failed=False):
        raise ValueError("an odd number")
    done = record(runs)
    assert done["status"] == "failed"
    assert done["error"] == ("the run's files could not be written: ValueError: an odd number")


def test_a_disk_that_is_full_for_a_while_does_not_end_the_run(
    runs: Path, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with standing(runs, outcome) as now:
        whole = module.write_whole
        monkeypatch.setattr(module, "write_whole", full)
        now.step("merge the banks", 1)
        monkeypatch.setattr(module, "write_whole", whole)
        assert record(runs)["progress"]["step"] == "wait for the stations"
        now.step("score", 1)
        assert record(runs)["progress"]["step"] == "score"


def test_one_run_has_one_process(
    runs: Path, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.runs.unfinished._PATIENCE_SECONDS", 0.1)
    with standing(runs, outcome):
        before = record(runs)
        with pytest.raises(RunError, match="another process works on this run"):
            standing(runs, outcome).__enter__()
        assert record(runs) == before


def test_settings_that_no_run_can_have_are_told(runs: Path) -> None:
    given = {"seed": 7, "backbone": "resnet9", "data-root": "/plant/x", "weights": "/w.pth"}
    write_refused(given, 77, START, "backbone is 'resnet9', see /plant/x")
    done = record(runs)
    assert (done["status"], done["error"]) == ("failed", "backbone is 'resnet9', see <path>")
    assert done["settings"] == {"seed": 7, "backbone": "resnet9"}
    assert done["seed"] == 7
