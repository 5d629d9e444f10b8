"""Where a run is written, and what it says of those who were not in to the end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server_cases import counts, roster, settings, space, survey

from common.errors import RunError
from common.patchcore.model_store import SavedModel
from common.runs import output
from server_app.outcome import GlobalBank, Outcome
from server_app.plan import make_plan
from server_app.run_writer import method_name, run_folder, write_outcome

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def outcome_of(*surveys: Any, **changes: Any) -> Outcome:
    outcome = Outcome(roster(*surveys, **changes), space=space(), feature_dim=4)
    outcome.plan = make_plan(outcome.surveys, outcome.roster.settings)
    names = np.array([reply.station for reply in surveys])
    outcome.banks["shared"] = GlobalBank(np.ones((len(names), 4), np.float16), names)
    for participant in outcome.roster.all():
        participant.rows_chosen = 1
    return outcome


def write(outcome: Outcome, out: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    chosen = settings(output_dir=str(out), data_root="/plant/parts", weights="/w/own.pth")
    folder = write_outcome(chosen, outcome, run_id=77, started=START, **changes)
    return folder, json.loads((folder / "run.json").read_text())


pytestmark = pytest.mark.usefixtures("plain_files")


def test_a_simulation_writes_to_its_output_dir_whatever_the_servers_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "plant"))
    chosen = settings(output_dir=str(tmp_path / "mine"))
    assert run_folder(chosen, 77, deployed=False) == tmp_path / "mine"
    assert run_folder(chosen, 77, deployed=True) == tmp_path / "plant" / "77"
    monkeypatch.delenv("FEDPATCHCORE_RUNS")
    assert run_folder(chosen, 77, deployed=True) == Path.home() / ".fedpatchcore/runs/77"


def test_a_plant_run_that_failed_before_any_answer_ignores_output_dir_and_names_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "plant"))
    folder, run = write(
        Outcome(roster()), tmp_path / "mine", deployed=True, error="no images in /plant/x: empty"
    )
    assert folder == tmp_path / "plant" / "77"
    assert not (tmp_path / "mine").exists()
    assert (run["status"], run["error"]) == ("failed", "no images in <path>: empty")
    assert run["settings"]["data-root"] == run["settings"]["output-dir"] == ""
    assert run["settings"]["weights"] == "auto"
    assert (run["feature_space"], run["bank"], run["stations"]) == (None, None, [])
    assert run["data"] == {"synthetic": None, "categories": []}


def test_method_names() -> None:
    assert method_name(settings(partition="dirichlet"), real=False) == "federated_dirichlet"
    assert method_name(settings(partition="dirichlet"), real=True) == "federated"


def test_run_files_of_real_stations_hold_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "runs"))
    folder, run = write(outcome_of(survey("a", real=True), survey("b", real=True)), tmp_path)
    assert run["method"] == "federated"
    for path in folder.rglob("*.json"):
        assert "/plant" not in path.read_text()
        assert "own.pth" not in path.read_text()


def test_run_json_says_who_was_lost_and_what_of_theirs_stays(tmp_path: Path) -> None:
    outcome = outcome_of(survey("a"), survey("b"), survey("c"), min_stations=1)
    outcome.roster.by_node[99].leave("failed", "it raised an error")
    outcome.roster.by_node[98].leave("refused", "sent NaN")
    outcome.roster.by_node[98].rows_chosen = 0
    _, run = write(outcome, tmp_path / "run")
    assert {s["name"]: (s["status"], s["reason"]) for s in run["stations"]} == {
        "a": ("used", None),
        "b": ("failed", "it raised an error"),
        "c": ("refused", "sent NaN"),
    }
    assert run["summary"] == run["notices"][0]
    assert run["summary"] == "used 1 of 3, failed b: it raised an error; refused c: sent NaN"
    assert (
        "b left after its rows had been merged: 1 of them are in the bank, its test images are not "
        "counted"
    ) in run["notices"]
    assert run["flower_run_id"] == "77"
    assert run["started"] == "2026-01-02T03:04:05+00:00"


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    blind = survey("b").model_copy(
        update={
            "categories": {
                "clip": counts(4, 40, held_out=0, test=0),
                "wire": counts(0, 0, held_out=0, test=3),
            }
        }
    )
    outcome = outcome_of(blind)
    outcome.without_bank = {"wire"}
    folder, run = write(outcome, tmp_path / "run")
    assert "no test image of clip: it was not evaluated" in run["notices"]
    assert "no bank for wire: no station trained on it" in run["notices"]
    assert "no held-out good image of clip: it has no threshold" in run["notices"]
    clip = json.loads(
        (folder / "evaluation/metrics/federated_category/clip/metrics.json").read_text()
    )
    assert "localization.auc_spro" in clip["not_computed"]
    assert "classification.auc_roc" in clip["not_computed"]
    assert clip["counts"]["images"] == 0


def test_a_failed_run_leaves_no_model_and_no_metrics(tmp_path: Path) -> None:
    folder, run = write(outcome_of(survey("a")), tmp_path / "run", error="too few stations")
    assert (run["status"], run["error"], run["bank"]) == ("failed", "too few stations", None)
    assert not (folder / "model").exists()
    assert not (folder / "evaluation").exists()
    assert (folder / "contributions.json").is_file()


def test_a_sum_that_is_not_finite_costs_no_file(tmp_path: Path) -> None:
    outcome = outcome_of(survey("a"), survey("b"))
    first, second = outcome.roster.all()
    first.seconds = second.seconds = float("inf")
    second.radius = float("nan")
    outcome.seconds["build_bank"] = float("inf")
    folder, run = write(outcome, tmp_path / "run")
    told = json.loads((folder / "contributions.json").read_text())["stations"]
    assert [own["seconds"] for own in told] == [None, None]
    assert run["seconds"]["build_bank"] is None
    assert (folder / "model" / "model.json").is_file()
    notices = " | ".join(run["notices"])
    assert "contributions.json: not finite, so left out: stations.0.seconds (inf)" in notices
    assert "run.json: not finite, so left out: seconds.build_bank (inf)" in notices


def test_a_part_that_cannot_be_written_costs_that_part_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("Out of range float values are not JSON compliant")

    monkeypatch.setattr(output, "build_metrics", broken)
    folder, run = write(outcome_of(survey("a")), tmp_path / "run")
    assert run["status"] == "completed"
    (missed,) = run["unevaluated"]
    assert missed.startswith("the metrics of screw could not be written (ValueError: Out of range")
    assert (folder / "model" / "bank.safetensors").is_file()
    assert (folder / "contributions.json").is_file()


def test_a_model_that_cannot_be_written_fails_the_run_and_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error", "/plant/runs/77/model/bank.safetensors")

    outcome = outcome_of(survey("a", real=True))
    monkeypatch.setattr(SavedModel, "save", broken)
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path))
    with pytest.raises(RunError, match=r"the model could not be written \(Input/output error"):
        write(outcome, tmp_path / "run")
    run = json.loads((tmp_path / "77" / "run.json").read_text())
    assert run["status"] == "failed"
    assert run["error"] == "the model could not be written (Input/output error)"
    assert run["model_sha256"] is None
    assert not (tmp_path / "77" / "model").exists()
    assert list((tmp_path / "77" / "evaluation").rglob("metrics.json"))
