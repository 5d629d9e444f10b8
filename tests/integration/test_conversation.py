"""Whole runs in one process: server, stations, files; only Flower's network is left out."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from local_grid import Finished, Tamper, run_local, simulated_nodes, small_settings
from safetensors.numpy import load_file

from common.data.layout import index_data
from common.errors import InputError, RunError
from common.evaluation import EvaluationCounts, build_metrics
from common.evaluation.judge import evaluate_samples
from common.messages import BuildReply, SurveyReply
from common.patchcore import PatchCore
from common.patchcore.weights import expected_shapes, random_state
from common.records import FACTS, read_facts, take_arrays, to_record

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

Run = Callable[..., Finished]


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shared_cache(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One feature cache for all runs here: most of them extract nothing."""
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(cache_folder))


@pytest.fixture(scope="module")
def parts(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the six parts: 12 training and 14 test images."""
    root = tmp_path_factory.mktemp("three") / "data"
    root.mkdir()
    for name in ("pipe_clip", "pipe_staple", "tank_screw"):
        (root / name).symlink_to(tiny_data / name)
    shutil.copy(tiny_data / "synthetic.json", root)
    return root


@pytest.fixture
def run(parts: Path, tmp_path: Path, plain_files: None) -> Run:
    """Run three stations on three parts; keyword arguments are settings."""
    numbers = iter(range(100))

    def start(tamper: Tamper | None = None, nodes: Any = None, **changes: Any) -> Finished:
        settings = small_settings(
            parts,
            tmp_path / f"run-{next(numbers)}",
            **{"num_stations": 3, "global_bank_size": 40, **changes},
        )
        extra = {} if tamper is None else {"tamper": tamper}
        return run_local(settings, nodes=nodes, **extra)

    return start


# ------------------------------------------------------------------------------- run folder


def test_a_run_leaves_the_files_of_the_contract(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    settings = small_settings(tiny_data, tmp_path / "run", partition="category", num_stations=5)
    done = run_local(settings)
    assert done.error is None
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "run.json", "contributions.json", "model", "evaluation", "report.html", "plots",
    }  # fmt: skip
    assert list(tmp_path.glob("*.partial")) == []
    told = done.run
    assert set(told) >= {
        "format", "status", "error", "method", "flower_run_id", "started", "finished", "seconds",
        "settings", "versions", "seed", "data", "feature_space", "bank", "stations", "bytes",
        "notices",
    }  # fmt: skip
    assert (told["format"], told["status"], told["error"]) == (1, "completed", None)
    assert told["method"] == "federated_category"
    assert told["settings"] == settings.to_run_config()
    assert set(told["seconds"]) == {
        "survey", "build_bank", "aggregate", "score", "write", "total",
    }  # fmt: skip
    assert set(told["versions"]) == {
        "fedpatchcore", "flwr", "python", "torch", "torchvision", "numpy",
    }  # fmt: skip
    assert told["data"] == {"synthetic": True, "categories": sorted(done.metrics)}
    assert len(done.metrics) == 6
    assert set(done.stations) == {
        "engine-assembly", "underbody-line", "fastener-station", "clip-inspection",
        "quality-control",
    }  # fmt: skip
    for station in told["stations"]:
        assert (station["status"], station["reason"]) == ("used", None)
        assert station["bytes_up"] > 0
        assert station["bytes_down"] > 0
    assert told["bytes"]["up"] == sum(s["bytes_up"] for s in told["stations"])
    # The bank: as many rows as asked for, of the stations that the contributions name.
    bank = load_file(done.folder / "model" / "bank.safetensors")["shared"]
    assert bank.shape == (200, 384)
    assert bank.dtype == np.float16
    assert told["bank"]["rows"] == {"shared": 200}
    assert told["bank"]["radius"] == done.model["radius"] > 0
    contributions = done.contributions.values()
    assert sum(c["rows_chosen"] for c in contributions) == 200
    for c in contributions:
        assert c["rows_chosen"] <= c["rows_sent"] <= c["budget"] <= c["patches"]
        assert c["images"] == sum(own["images"] for own in c["categories"].values())
        assert c["bytes"] == done.stations[c["name"]]["bytes_up"]
    # Every image once: 24 training and 38 test images, over all stations.
    index = index_data(tiny_data)
    assert done.extracted == len(index.samples) == 62
    assert sum(m["counts"]["images"] for m in done.metrics.values()) == len(index.select("test"))
    again = run_local(settings.with_(output_dir=str(tmp_path / "again")))
    assert again.extracted == 0
    assert again.bank == done.bank
    assert again.metrics == done.metrics


def test_a_second_run_moves_the_first_one_aside(run: Run, tmp_path: Path) -> None:
    first = run(output_dir=str(tmp_path / "out"))
    run(output_dir=str(tmp_path / "out"), seed=7)
    assert (tmp_path / "out.1" / "model" / "bank.safetensors").read_bytes() != (
        tmp_path / "out" / "model" / "bank.safetensors"
    ).read_bytes()
    assert first.run["seed"] == 42


# ----------------------------------------------------------------------------- determinism


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(run: Run) -> None:
    first, second, other = run(), run(), run(seed=7)
    assert first.bank == second.bank
    assert first.metrics == second.metrics
    assert first.bank != other.bank


@pytest.mark.parametrize(
    ("aggregation", "rounds"),
    [("federated_coreset", 2), ("diversity_preserving", 1), ("concatenate", 2)],
)
def test_the_order_of_replies_changes_no_byte(
    parts: Path, tmp_path: Path, plain_files: None, aggregation: str, rounds: int
) -> None:
    done = []
    for reverse in (True, False):
        settings = small_settings(
            parts,
            tmp_path / f"{reverse}",
            aggregation=aggregation,
            num_server_rounds=rounds,
            num_stations=3,
            global_bank_size=40,
        )
        # Node numbers run against the names or along them: that is another order as well.
        nodes = simulated_nodes(3)
        if reverse:
            nodes = {2000 - node: config for node, config in nodes.items()}
        done.append(run_local(settings, nodes=nodes, reverse=reverse))
    assert done[0].bank == done[1].bank
    assert done[0].metrics == done[1].metrics
    assert done[0].model["thresholds"] == done[1].model["thresholds"]


def test_a_bank_in_many_parts_is_the_bank_in_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(num_server_rounds=2)
    monkeypatch.setattr("server_app.plan.PART_BYTES", 5 * 384 * 2)  # five rows a message
    pieces = run(num_server_rounds=2)
    assert pieces.bank == whole.bank
    assert pieces.metrics == whole.metrics
    # 40 rows in 8 parts to each of 3 stations, after the first round and after the second.
    assert pieces.grid.kinds.count("train.take_bank") == 2 * 8 * 3
    assert whole.grid.kinds.count("train.take_bank") == 3
    assert pieces.grid.kinds.count("train") > whole.grid.kinds.count("train") == 2 * 3


# -------------------------------------------------------------------------- federated = pooled


@pytest.mark.parametrize("scope", ["shared", "category"])
def test_metrics_of_merged_counts_equal_those_of_one_place(
    run: Run, parts: Path, scope: str
) -> None:
    stations = run(bank_scope=scope)
    server = run(bank_scope=scope, evaluation="server")
    assert server.bank == stations.bank
    assert server.metrics == stations.metrics
    assert all(s["bytes_up"] < stations.stations[n]["bytes_up"] for n, s in server.stations.items())
    # And a third way: the saved model, all test images, one process.
    model, index = PatchCore.load(stations.folder), index_data(parts)
    for category, told in stations.metrics.items():
        counts = evaluate_samples(model, index, index.select("test", category), EvaluationCounts())
        pooled = build_metrics(
            counts.compute(),
            method=told["method"],
            category=category,
            synthetic_data=True,
            weights=told["weights"],
        )
        for key in ("localization", "classification", "per_defect_type", "counts"):
            assert told[key] == pooled[key], (category, key)


def test_bank_scope_category_makes_one_bank_a_part_of_the_same_size_in_all(run: Run) -> None:
    done = run(bank_scope="category", partition="category")
    banks = load_file(done.folder / "model" / "bank.safetensors")
    assert set(banks) == {"pipe_clip", "pipe_staple", "tank_screw"}
    assert sum(len(rows) for rows in banks.values()) == 40
    assert done.run["bank"]["scope"] == "category"
    assert set(done.metrics) == set(banks)


# ------------------------------------------------------------------------------------- rounds


def test_a_second_round_covers_better_and_its_rows_are_counted(run: Run) -> None:
    one, two = run(partition="category"), run(partition="category", num_server_rounds=2)
    assert two.run["bank"]["radius"] < one.run["bank"]["radius"]
    sent = [sum(c["rows_sent"] for c in done.contributions.values()) for done in (one, two)]
    assert sent[1] > sent[0]
    assert two.run["bank"]["rows"] == one.run["bank"]["rows"]


def test_no_image_is_extracted_twice_in_two_rounds(
    run: Run, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cold"))
    assert run(num_server_rounds=2).extracted == len(index_data(parts).samples)
    assert run(num_server_rounds=2).extracted == 0


# -------------------------------------------------------------------------------- real stations


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "plant"


def give(tiny: Path, station: Path, category: str, *folders: str) -> None:
    """Lay some folders of a category out at a station."""
    for folder in folders:
        shutil.copytree(tiny / category / folder, station / category / folder)
    config = tiny / category / "defects_config.json"
    shutil.copy(config, station / category / config.name)
    shutil.copy(tiny / "synthetic.json", station)


def real_nodes(plant: Path, **weights: Path) -> dict[int, dict[str, Any]]:
    nodes = {}
    for number, folder in enumerate(sorted(plant.iterdir())):
        nodes[number + 5] = {"station": folder.name, "data-root": str(folder)}
        if folder.name in weights:
            nodes[number + 5]["weights"] = str(weights[folder.name])
    return nodes


EVERYTHING = ("train", "test", "ground_truth")


def test_a_station_without_test_images_and_a_part_that_nobody_can_test(
    tiny_data: Path, plant: Path, tmp_path: Path, plain_files: None
) -> None:
    give(tiny_data, plant / "press", "pipe_clip", *EVERYTHING)
    give(tiny_data, plant / "mill", "tank_screw", "train")  # trains, and can test nothing
    give(tiny_data, plant / "gate", "pipe_clip", "test", "ground_truth")  # tests only
    settings = small_settings(tiny_data, tmp_path / "unused", global_bank_size=40)
    done = run_local(settings, nodes=real_nodes(plant), folder=tmp_path / "runs")
    assert done.error is None
    assert not (tmp_path / "unused").exists()
    assert done.run["method"] == "federated"
    assert {name: s["status"] for name, s in done.stations.items()} == {
        "gate": "used", "mill": "used", "press": "used",
    }  # fmt: skip
    notices = " | ".join(done.run["notices"])
    assert "nobody has test images of tank_screw: it was not evaluated" in notices
    assert "without test images of their own: mill" in notices
    screw = done.metrics["tank_screw"]
    assert screw["localization"] == {}
    assert {"localization.auc_spro", "classification.auc_roc"} <= set(screw["not_computed"])
    assert screw["threshold"]["held_out_images"] == 1
    # Both stations' test images of the other part are counted: the same six, twice.
    assert done.metrics["pipe_clip"]["counts"]["images"] == 12
    assert done.contributions["gate"]["rows_sent"] == 0
    for path in done.folder.rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path.name
        assert ".png" not in path.read_text(), path.name


def test_a_part_that_nobody_trained_on_has_no_bank_of_its_own(
    tiny_data: Path, plant: Path, tmp_path: Path, plain_files: None
) -> None:
    give(tiny_data, plant / "press", "pipe_clip", *EVERYTHING)
    give(tiny_data, plant / "press", "tank_screw", "test", "ground_truth")
    settings = small_settings(tiny_data, tmp_path / "unused", bank_scope="category")
    done = run_local(settings, nodes=real_nodes(plant), folder=tmp_path / "runs")
    assert done.error is None
    assert "no bank for tank_screw: no station trained on it" in done.run["notices"]
    assert "localization.auc_spro" in done.metrics["tank_screw"]["not_computed"]
    assert set(done.run["bank"]["rows"]) == {"pipe_clip"}


@pytest.mark.parametrize("min_stations", [2, 0])
def test_a_station_with_other_weights_is_refused_naming_both_spaces(
    tiny_data: Path, plant: Path, tmp_path: Path, plain_files: None, min_stations: int
) -> None:
    files = {}
    for seed in (1, 2):
        files[seed] = tmp_path / f"weights-{seed}.pth"
        torch.save(
            random_state(expected_shapes("resnet18", ("layer2", "layer3")), seed), files[seed]
        )
    for name, part in (("mill", "pipe_clip"), ("odd", "tank_screw"), ("press", "pipe_staple")):
        give(tiny_data, plant / name, part, *EVERYTHING)
    nodes = real_nodes(plant, mill=files[1], odd=files[2], press=files[1])
    settings = small_settings(
        tiny_data, tmp_path / "unused", weights="/a/path", min_stations=min_stations
    )
    done = run_local(settings, nodes=nodes, folder=tmp_path / "runs")
    assert done.stations["odd"]["status"] == "refused"
    assert done.stations["odd"]["reason"].count("weights local file [") == 2
    assert {done.stations[name]["status"] for name in ("mill", "press")} == {"used"}
    if min_stations == 0:
        assert isinstance(done.error, RunError)
        assert done.run["status"] == "failed"
        assert "odd refused: feature space resnet18" in done.run["error"]
        return
    assert done.run["status"] == "completed"
    assert "tank_screw" not in done.metrics
    for path in done.folder.rglob("*.json"):
        assert "weights-1.pth" not in path.read_text()
        assert "/a/path" not in path.read_text()


# -------------------------------------------------------------------------------------- faults

ODD = 999
"""Node number of `station-1`, see `simulated_nodes`."""


def only(kind: str, change: Callable[[Message], Message | None]) -> Tamper:
    """Let one station misbehave in its replies to one kind of message."""

    def tamper(node: int, request: Message, reply: Message) -> Message | None:
        if node != ODD or request.metadata.message_type != kind:
            return reply
        return change(reply)

    return tamper


def with_rows(change: Callable[[Any], Any], **facts: Any) -> Callable[[Message], Message]:
    """Change the rows of a build reply, and what is said about them."""

    def rebuild(reply: Message) -> Message:
        told = read_facts(reply.content, BuildReply)
        rows = {name: change(array) for name, array in take_arrays(reply.content).items()}
        own = {name: bank.model_copy(update=facts) for name, bank in told.banks.items()}
        content = to_record(told.model_copy(update={"banks": own}), rows)
        return Message(content=content, metadata=reply.metadata)

    return rebuild


def with_facts(kind: Any, **facts: Any) -> Callable[[Message], Message]:
    def rebuild(reply: Message) -> Message:
        told = read_facts(reply.content, kind).model_copy(update=facts)
        content = to_record(told, take_arrays(reply.content))
        return Message(content=content, metadata=reply.metadata)

    return rebuild


def nan_first(rows: Any) -> Any:
    rows = rows.copy()
    rows[0, 0] = np.nan
    return rows


def raising(reply: Message) -> Message:
    raise RuntimeError("out of memory near /data/parts/0001.png")


def garbled(reply: Message) -> Message:
    reply.content.config_records[FACTS]["json"] = '{"station": '
    return reply


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
        names["1"] = f"node-{ODD}"  # it never told its name
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


@pytest.mark.parametrize("fault", ["raises in the survey", "silent", "nan", "no json"])
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


# ------------------------------------------------------------------------------------- settings


def outcome(done: Finished) -> dict[str, Any]:
    """What may depend on a setting, part by part."""
    metrics = {
        name: {k: v for k, v in told.items() if k not in ("method", "threshold")}
        for name, told in done.metrics.items()
    }
    return {
        "bank": hashlib.sha256(done.bank).hexdigest(),
        "metrics": metrics,
        "thresholds": {name: facts["value"] for name, facts in done.model["thresholds"].items()},
        "stations": {name: (s["status"], s["reason"]) for name, s in done.stations.items()},
        "rows_sent": [c["rows_sent"] for c in done.contributions.values()],
    }


BASE = {"partition": "dirichlet", "min_stations": 1}
DIVERSE = {"aggregation": "diversity_preserving"}
CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # on top of, changed, what must differ
    ({}, {"aggregation": "concatenate"}, "bank"),
    ({}, {"aggregation": "diversity_preserving", "min_station_share": 0.3}, "bank"),
    (DIVERSE, {"min_station_share": 0.33}, "bank"),
    ({}, {"weighted_by_samples": False}, "rows_sent"),
    ({}, {"oversample_factor": 1.0}, "rows_sent"),
    ({}, {"bank_scope": "category"}, "bank"),
    ({}, {"wire_dtype": "float32"}, "bank"),
    ({}, {"image_score": "90"}, "metrics"),
    ({}, {"calibration_fraction": 0.0}, "bank"),
    ({"calibration_fraction": 0.6}, {"target_false_alarm_rate": 0.7}, "thresholds"),
    ({}, {"coreset_projection": 0}, "bank"),
    ({}, {"local_coreset_ratio": 0.02}, "rows_sent"),
    ({}, {"global_bank_size": 20}, "bank"),
    ({}, {"neighborhood_size": 1}, "bank"),
    ({}, {"layers": "layer1,layer2"}, "bank"),
    ({}, {"backbone": "resnet34"}, "bank"),
    ({}, {"image_size": 48}, "bank"),
    ({}, {"precision": "bfloat16"}, "bank"),
    ({}, {"seed": 7}, "bank"),
    ({}, {"partition": "iid"}, "bank"),
    ({}, {"num_stations": 2}, "bank"),
    ({}, {"dirichlet_alpha": 100.0}, "bank"),
    ({}, {"num_server_rounds": 2}, "bank"),
    ({}, {"max_station_share": 0.4}, "stations"),
]


@pytest.mark.parametrize(
    ("base", "change", "differs"),
    CHANGES,
    ids=[" ".join(f"{k}={v}" for k, v in change.items()) for _, change, _ in CHANGES],
)
def test_every_setting_changes_what_it_is_about(
    run: Run, base: dict[str, Any], change: dict[str, Any], differs: str
) -> None:
    before = outcome(known_run(run, {**BASE, **base}))
    after = outcome(run(**{**BASE, **base, **change}))
    assert after[differs] != before[differs]
    if differs in ("metrics", "thresholds"):
        assert after["bank"] == before["bank"]  # it is about judging, not about the bank


_known: dict[str, Finished] = {}


def known_run(run: Run, settings: dict[str, Any]) -> Finished:
    """Keep the runs that many are compared with."""
    key = repr(sorted(settings.items()))
    if key not in _known:
        _known[key] = run(**settings)
    return _known[key]


def test_weights_and_feature_space_keys(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    torch.save(random_state(expected_shapes("resnet18", ("layer2", "layer3")), 5), path)
    plain, other = run(), run(weights=str(path))
    assert plain.bank != other.bank
    fingerprint = other.run["feature_space"]["fingerprint"]
    assert run(weights=str(path), feature_space=fingerprint[:12]).bank == other.bank
    refused = run(feature_space=fingerprint)
    assert isinstance(refused.error, RunError)
    assert "no station is in the required feature-space" in refused.run["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"device": "auto"},
        {"batch_size": 1},
        {"num_workers": 3},
        {"round_timeout": 100},
        {"min_stations": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_how_it_is_computed_changes_no_byte(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    if change == {"device": "auto"} and torch.cuda.is_available():
        pytest.skip("auto is a GPU here, whose features are close to the CPU's, not equal")
    expected = outcome(known_run(run, {}))
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cold"))
    done = run(**change)
    assert done.extracted == 26
    assert outcome(done) == expected
