"""Experiments: which runs are kept, which are repeated, one failure among many."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from experiment_parts import TINY, Ears, planned

from common.cli.main import run as run_command
from common.config import Settings
from common.data.layout import DataIndex, index_data
from common.errors import InputError, RunError
from common.evaluation import load_metrics
from common.runs.experiment import (
    Outcome,
    finished_seconds,
    remaining_seconds,
    report_experiment,
    run_experiment,
)
from common.runs.experiment_plan import PlannedRun, read_plan

pytestmark = pytest.mark.usefixtures("plain_files")


def test_finished_runs_are_kept_and_settings_decide(
    index: DataIndex, plan_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    text = "methods: [centralized, local]\npartitions: [iid]\n"
    runs = planned(plan_file, text, index)
    first = Ears()
    outcomes = run_experiment(runs, index, out, first)
    assert [one.status for one in outcomes] == ["completed", "completed"]
    assert first.begun == [run.name for run in runs]
    assert first.left[0] is None
    assert first.left[1] is not None
    again = Ears()
    outcomes = run_experiment(runs, index, out, again)
    assert again.begun == []
    assert [one.status for one in outcomes] == ["kept", "kept"]
    # Where and how fast changes no result; the seed and the bank do.
    run = runs[0]
    folder = out / "runs" / run.name
    for change in ({"device": "auto"}, {"num_workers": 2}, {"batch_size": 3}):
        same = PlannedRun(run.name, run.kind, run.method, run.settings.with_(**change))
        assert finished_seconds(folder, same) is not None
    for change in ({"seed": 7}, {"global_bank_size": 61}, {"data_root": "/elsewhere"}):
        other = PlannedRun(run.name, run.kind, run.method, run.settings.with_(**change))
        assert finished_seconds(folder, other) is None
    # A run that failed, was cut off or was interrupted while it was written starts again.
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "status": "failed"}))
    assert finished_seconds(folder, run) is None
    (folder / "run.json").write_text(json.dumps(facts)[:-40])
    assert finished_seconds(folder, run) is None
    leftover = out / "runs" / f"{run.name}.1234.partial"
    leftover.mkdir()
    outcomes = run_experiment(runs, index, out, again)
    assert again.begun == [run.name]
    assert [one.status for one in outcomes] == ["completed", "kept"]
    assert not leftover.exists()
    page = report_experiment(outcomes, index, out).read_text(encoding="utf-8")
    assert "Best: defects" in page
    assert page.count("data:image/png") >= 3
    summary = json.loads((out / "experiment.json").read_text())
    assert [one["status"] for one in summary["runs"]] == ["completed", "kept"]


def test_a_failure_stops_no_other_run(
    index: DataIndex, plan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten training images can be dealt out to two stations, not to 99."""
    text = "methods: [centralized, local]\npartitions: [iid]\n"
    runs = planned(plan_file, text, index)
    broken = PlannedRun("broken", "local", "local", runs[1].settings.with_(num_stations=99))
    outcomes = run_experiment([broken, *runs], index, tmp_path / "out", Ears())
    assert [one.status for one in outcomes] == ["failed", "completed", "completed"]
    assert "99 stations" in (outcomes[0].error or "")
    page = report_experiment(outcomes, index, tmp_path / "out").read_text(encoding="utf-8")
    assert "99 stations" in page
    facts = json.loads((outcomes[0].folder / "run.json").read_text())
    assert (facts["status"], facts["method"]) == ("failed", "local")
    with pytest.raises(RunError):
        report_experiment(outcomes[:1], index, tmp_path / "out")
    plan_file.write_text(
        f"data: {index.root}\nmethods: [centralized, local]\npartitions: [iid]\n"
        + TINY.replace("num-stations: 2", "num-stations: 99")
    )
    code = run_command(["experiment", str(plan_file), "--out", str(tmp_path / "cli")])
    shown = capsys.readouterr()
    assert code == 1
    assert "1 of 2 runs failed" in shown.err
    assert "centralized-shared-seed42" in shown.out
    assert (tmp_path / "cli" / "report.html").is_file()


def test_a_baseline_that_lost_a_category_is_not_finished(
    index: DataIndex, plan_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "data"
    shutil.copytree(index.root, broken)
    victims = sorted((broken / "pipe_clip" / "train" / "good").iterdir())
    text = "methods: [centralized]\nbank-scopes: [category]\n"
    healthy = [victim.read_bytes() for victim in victims]
    for victim in victims:
        victim.write_bytes(b"no picture")
    runs = planned(plan_file, text, index_data(broken))
    outcomes = run_experiment(runs, index_data(broken), tmp_path / "out", Ears())
    assert outcomes[0].status == "failed"
    assert "pipe_clip" in (outcomes[0].error or "")
    assert list(load_metrics(outcomes[0].folder)["centralized"]) == ["pipe_staple"]
    for victim, content in zip(victims, healthy, strict=True):
        victim.write_bytes(content)
    outcomes = run_experiment(runs, index_data(broken), tmp_path / "out", Ears())
    assert outcomes[0].status == "completed"


def test_features_are_extracted_once(
    index: DataIndex, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))

    def extracted() -> dict[str, int]:
        files = (tmp_path / "cache").rglob("*")
        return {str(path): path.stat().st_ino for path in files if path.is_file()}

    text = "methods: [centralized, local]\npartitions: [iid]\nbank-scopes: [shared, category]\n"
    runs = planned(plan_file, text, index)
    run_experiment(runs[:1], index, tmp_path / "out", Ears())
    after_one = extracted()
    assert len(after_one) >= len(index.samples)
    run_experiment(runs, index, tmp_path / "out", Ears())
    assert extracted() == after_one


def test_two_experiments_do_not_share_a_folder(
    index: DataIndex, plan_file: Path, tmp_path: Path
) -> None:
    runs = planned(plan_file, "methods: [centralized]\n", index)
    out = tmp_path / "out"

    class Second(Ears):
        def begin(self, run: PlannedRun, number: int, total: int, left: float | None) -> None:
            with pytest.raises(InputError, match="another experiment"):
                run_experiment(runs, index, out, Ears())
            super().begin(run, number, total, left)

    ears = Second()
    run_experiment(runs, index, out, ears)
    assert len(ears.begun) == 1


def test_a_killed_experiment_goes_on_where_it_was(
    index: DataIndex, plan_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plan_file.write_text(
        f"data: {index.root}\nmethods: [centralized, local]\npartitions: [iid]\nseeds: [1, 2]\n"
        + TINY
    )
    command = [sys.executable, "-c", "from common.cli.main import main; main()"]
    command += ["experiment", str(plan_file), "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        until = time.monotonic() + 600
        while not list((out / "runs").glob("*-seed1/run.json")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    plan = read_plan(plan_file)
    settings = plan.settings.with_(data_root=str(index.root)).absolute()
    runs = plan.runs(settings)
    done = [run for run in runs if finished_seconds(out / "runs" / run.name, run) is not None]
    written = {run.name: (out / "runs" / run.name / "run.json").read_bytes() for run in done}
    assert 1 <= len(done) < len(runs)
    ears = Ears()
    outcomes = run_experiment(runs, index_data(index.root), out, ears)
    assert ears.begun == [run.name for run in runs if run not in done]
    assert {one.status for one in outcomes} == {"kept", "completed"}
    for name, content in written.items():
        assert (out / "runs" / name / "run.json").read_bytes() == content


def test_time_left_is_the_median_of_what_ran() -> None:
    def run(kind: str) -> PlannedRun:
        return PlannedRun(kind, kind, kind, Settings())

    done = [
        Outcome(run("centralized"), Path(), "completed", 10.0),
        Outcome(run("federated"), Path(), "kept", 60.0),
        Outcome(run("federated"), Path(), "completed", 80.0),
        Outcome(run("federated"), Path(), "failed", 1.0, "no"),
    ]
    # 70 for each federated run; local has none of its own: median of 10, 60 and 80.
    waiting = [run("federated"), run("federated"), run("local")]
    assert remaining_seconds(waiting, done) == 70.0 + 70.0 + 60.0
    assert remaining_seconds(waiting, done[3:]) is None
    assert remaining_seconds([], done) == 0.0


@pytest.mark.flower
@pytest.mark.usefixtures("one_core")
def test_a_federated_run_of_an_experiment(
    index: DataIndex, plan_file: Path, tmp_path: Path
) -> None:
    runs = planned(plan_file, "methods: [federated]\npartitions: [iid]\n", index)
    whole = index_data(index.root)
    ears = Ears()
    outcomes = run_experiment(runs, whole, tmp_path / "out", ears)
    assert [one.error for one in outcomes] == [None]
    assert list(load_metrics(outcomes[0].folder)) == ["federated_iid"]
    outcomes = run_experiment(runs, whole, tmp_path / "out", ears)
    assert [one.status for one in outcomes] == ["kept"]
    assert (
        "federated_iid, seed 42" in report_experiment(outcomes, whole, tmp_path / "out").read_text()
    )
