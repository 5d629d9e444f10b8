"""Experiments: what a file asks for, which runs are repeated, one failure among many."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from common.baseline import run_baseline
from common.cli import run as run_command
from common.config import Settings
from common.data.holdout import split_holdout
from common.data.layout import DataIndex, index_data
from common.data.partition import make_partition
from common.errors import InputError, RunError
from common.evaluation import ExactEvaluation, load_metrics
from common.evaluation.judge import evaluate_samples
from common.experiment import (
    Outcome,
    finished_seconds,
    remaining_seconds,
    report_experiment,
    run_experiment,
)
from common.experiment_plan import PlannedRun, read_plan
from common.gallery import Case, best_and_worst
from common.local_stations import run_local
from common.patchcore import PatchCore

TINY = """
settings:
  backbone: resnet18
  weights: random
  global-bank-size: 60
  num-workers: 0
  num-stations: 2
  device: cpu
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # One cache for the module: extraction is what these tests would spend their time on.
    root = tmp_path_factory.getbasetemp() / "experiment-cache"
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(root))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DataIndex:
    """A data folder of two categories of the synthetic set, 5 training images each."""
    from common.data.synthetic import write_synthetic

    root = tmp_path_factory.mktemp("experiment") / "data"
    write_synthetic(root, images=5, size=32)
    for name in index_data(root).categories:
        if name not in ("pipe_clip", "pipe_staple"):
            shutil.rmtree(root / name)
    return index_data(root)


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    return tmp_path / "plan.yaml"


class Ears:
    """Listens to an experiment."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.left: list[float | None] = []

    def begin(self, run: PlannedRun, number: int, total: int, left: float | None) -> None:
        self.begun.append(run.name)
        self.left.append(left)

    def step(self, text: str, done: int, total: int) -> None: ...

    def end(self, outcome: Outcome) -> None: ...


def planned(plan_file: Path, text: str, index: DataIndex) -> list[PlannedRun]:
    plan_file.write_text(text + TINY, encoding="utf-8")
    plan = read_plan(plan_file)
    return plan.runs(plan.settings.with_(data_root=str(index.root)).absolute())


# --- what a file asks for ---------------------------------------------------------------------


def test_expansion_counts_every_combination_once(plan_file: Path) -> None:
    plan_file.write_text(
        "methods: [federated, centralized, local]\n"
        "partitions: [iid, {dirichlet: 0.1}, {dirichlet: 5}]\n"
        "bank-scopes: [shared, category]\n"
        "aggregations: [federated_coreset, concatenate]\n"
        "seeds: [1, 2, 3]\n"
    )
    runs = read_plan(plan_file).runs()
    kinds = [run.kind for run in runs]
    # seeds x scopes; x partitions for local; x aggregations too for federated
    assert kinds.count("centralized") == 3 * 2
    assert kinds.count("local") == 3 * 2 * 3
    assert kinds.count("federated") == 3 * 2 * 3 * 2
    assert len({run.name for run in runs}) == len(runs) == 60
    assert len({repr((run.kind, run.settings)) for run in runs}) == 60
    # seed by seed, what the others are compared with first
    assert [run.settings.seed for run in runs] == [1] * 20 + [2] * 20 + [3] * 20
    assert kinds[:2] == ["centralized"] * 2
    one = next(run for run in runs if run.name.startswith("federated_dirichlet-alpha0.1-category"))
    assert one.method == "federated_dirichlet"
    assert one.settings.partition == "dirichlet"
    assert one.settings.dirichlet_alpha == 0.1
    assert one.settings.bank_scope == "category"


def test_an_empty_file_asks_for_the_defaults(plan_file: Path) -> None:
    plan_file.write_text("")
    plan = read_plan(plan_file)
    assert plan.data is None
    assert [run.name for run in plan.runs()] == [
        "centralized-shared-seed42",
        "local-category-shared-seed42",
        "federated_category-shared-seed42",
    ]


def test_paths_lie_beside_the_file(plan_file: Path) -> None:
    plan_file.write_text("data: images\nsettings: {weights: net.safetensors}\n")
    plan = read_plan(plan_file)
    assert plan.data == plan_file.parent / "images"
    assert plan.settings.weights == str(plan_file.parent / "net.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sedes: [1]", ["unknown key 'sedes'", "'seeds'"]),
        ("methods: [pooled]", ["methods", "'pooled'", "centralized"]),
        ("partitions: [random]", ["partitions", "'random'", "dirichlet"]),
        ("partitions: [{dirichlet: many}]", ["dirichlet", "'many'"]),
        ("partitions: [{dirichlet: -1}]", ["dirichlet-alpha", "-1"]),
        ("partitions: [{iid: 1}]", ["partitions"]),
        ("bank-scopes: [both]", ["bank-scope", "'both'"]),
        ("aggregations: [mean]", ["aggregation", "'mean'"]),
        ("seeds: [one]", ["seeds", "'one'"]),
        ("seeds: [true]", ["seeds", "True"]),
        ("seeds: []", ["seeds", "empty"]),
        ("seeds:", ["seeds", "empty"]),
        ("seeds: [1, 2, 1]", ["seeds", "1", "twice"]),
        ("settings: {seed: 3}", ["seed", "list it under seeds"]),
        ("settings: {partition: iid}", ["partition", "partitions"]),
        ("settings: {global-bank-sise: 3}", ["global-bank-sise", "global-bank-size"]),
        ("settings: {global-bank-size: none}", ["global-bank-size", "'none'"]),
        ("settings: 3", ["settings", "3"]),
        ("data: 3", ["data", "3"]),
        ("- 1", ["list"]),
        ("a: [", ["not YAML"]),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    plan_file: Path, text: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan_file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_plan(plan_file)
    message = str(caught.value)
    assert str(plan_file) in message
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert run_command(["experiment", str(plan_file), "--out", str(plan_file.parent / "o")]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["quick", "autovi"])
def test_the_files_that_come_with_the_project(name: str) -> None:
    folder = Path(__file__).parents[2] / "experiments"
    plan = read_plan(folder / f"{name}.yaml")
    runs = plan.runs()
    if name == "quick":
        assert plan.data is None
        assert len(runs) == 2 * (1 + 2 + 2)
    else:
        assert {run.method for run in runs} == {
            "centralized",
            "federated_iid",
            "federated_category",
        }
        assert len({run.settings.seed for run in runs}) == 5
        assert {run.settings.bank_scope for run in runs} == {"shared", "category"}
        assert {run.settings.global_bank_size for run in runs} == {10000}
        assert len(runs) == 5 * 2 * 3


# --- the local method -------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["shared", "category"])
def test_local_is_each_station_by_itself(scope: str, index: DataIndex, tmp_path: Path) -> None:
    """A slow twin: fit each station's bank by hand and pool the maps exactly."""
    settings = Settings(
        backbone="resnet18", weights="random", global_bank_size=60, num_workers=0, device="cpu",
        num_stations=2, partition="iid", bank_scope=scope, data_root=str(index.root),
    )  # fmt: skip
    run_local(settings, index, tmp_path / "local")
    found = load_metrics(tmp_path / "local")["local"]
    made = make_partition(index.samples, "iid", 2, settings.seed)
    evaluations = {name: ExactEvaluation() for name in index.categories}
    held_out_scores: dict[str, list[float]] = {name: [] for name in index.categories}
    for own in ([index.samples[i] for i in part] for part in made.indices.values()):
        train = [one for one in own if one.split == "train"]
        bank, held_out = split_holdout(train, settings.calibration_fraction)
        for name in index.categories:
            model = PatchCore(settings)
            mine = [one.path for one in bank if scope == "shared" or one.category == name]
            model.fit(mine)
            test = [one for one in own if one.split == "test" and one.category == name]
            evaluate_samples(model, index, test, evaluations[name])
            later = [one.path for one in held_out if one.category == name]
            held_out_scores[name] += [p.score for p in model.predict(later)]
    for name, evaluation in evaluations.items():
        exact = evaluation.compute().overall
        spro = found[name]["localization"]["auc_spro"]
        bound = found[name]["evaluation"]["auc_error_bound"]
        for limit, value in exact.auc_spro.items():
            assert abs(spro[str(limit)] - value) <= bound[str(limit)] + 1e-6
        assert found[name]["classification"]["auc_roc"] == pytest.approx(exact.auc_roc)
        assert found[name]["counts"]["images"] == len(index.select("test", name))
        assert found[name]["threshold"]["held_out_images"] == len(held_out_scores[name])
    run = json.loads((tmp_path / "local" / "run.json").read_text())
    assert run["method"] == "local"
    assert run["bytes"] == {"up": 0, "down": 0}
    assert [one["name"] for one in run["stations"]] == list(made.names)
    assert run["bank"]["scope"] == scope
    assert sum(run["bank"]["rows"].values()) > 0
    assert not (tmp_path / "local" / "model").exists()


def test_what_no_bank_can_judge_is_named(index: DataIndex, tmp_path: Path) -> None:
    settings = Settings(
        backbone="resnet18", weights="random", global_bank_size=60, num_workers=0, device="cpu",
        num_stations=4, partition="dirichlet", dirichlet_alpha=0.05, bank_scope="category",
        calibration_fraction=0.0, data_root=str(index.root), seed=1,
    )  # fmt: skip
    made = make_partition(index.samples, "dirichlet", 4, 1, 0.05)
    unjudged = 0
    for part in made.indices.values():
        own = [index.samples[i] for i in part]
        trained = {one.category for one in own if one.split == "train"}
        unjudged += sum(one.split == "test" and one.category not in trained for one in own)
    record = run_local(settings, index, tmp_path / "local")
    judged = sum(one.result.overall.counts["images"] for one in record.evaluated)
    assert judged == len(index.select("test")) - unjudged
    assert (unjudged > 0) == any("were not judged" in notice for notice in record.notices)


# --- running and running again ----------------------------------------------------------------


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
    victim = next((broken / "pipe_clip" / "train" / "good").iterdir())
    text = "methods: [centralized]\nbank-scopes: [category]\n"
    healthy = victim.read_bytes()
    victim.write_bytes(b"no picture")
    runs = planned(plan_file, text, index_data(broken))
    outcomes = run_experiment(runs, index_data(broken), tmp_path / "out", Ears())
    assert outcomes[0].status == "failed"
    assert "pipe_clip" in (outcomes[0].error or "")
    assert list(load_metrics(outcomes[0].folder)["centralized"]) == ["pipe_staple"]
    victim.write_bytes(healthy)
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
    command = [sys.executable, "-c", "from common.cli import main; main()"]
    command += ["experiment", str(plan_file), "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    try:
        until = time.monotonic() + 120
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


# --- the gallery ------------------------------------------------------------------------------


def test_cases_are_ordered_by_their_side_of_the_threshold(index: DataIndex) -> None:
    bad = next(one for one in index.samples if one.label)
    good = next(one for one in index.samples if one.split == "test" and not one.label)
    assert Case(bad, 6.0, 3.0).margin == 2.0
    assert Case(bad, 1.5, 3.0).margin == 0.5
    assert Case(good, 1.5, 3.0).margin == 2.0
    assert Case(good, 6.0, 3.0).margin == 0.5
    assert Case(good, 6.0, 0.0).margin == 1.0


def test_the_gallery_shows_the_extremes(index: DataIndex, tmp_path: Path) -> None:
    settings = Settings(
        backbone="resnet18", weights="random", global_bank_size=60, num_workers=0, device="cpu",
        num_stations=2, data_root=str(index.root),
    )  # fmt: skip
    run_baseline(settings, index, tmp_path / "run")
    pictures = best_and_worst(tmp_path / "run", index, count=2)
    model = PatchCore.load(tmp_path / "run")
    margins = {}
    for name in index.categories:
        level = model.thresholds[name]["value"]
        for one in index.select("test", name):
            if one.label:
                score = model.predict_single(one.path, name).score
                title = f"{name}, {one.defect_type}, {one.path.name}"
                margins[title] = score / level
    best = [one["title"] for one in pictures if one["group"].startswith("Best")]
    worst = [one["title"] for one in pictures if "lowest" in one["group"]]
    assert best[0] == max(margins, key=lambda title: margins[title])
    assert worst[0] == min(margins, key=lambda title: margins[title])
    assert len(pictures) == 6
    assert np.all([one["picture"].axes for one in pictures])


@pytest.mark.flower
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
