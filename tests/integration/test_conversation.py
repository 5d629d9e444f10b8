"""Whole runs in one process: server, stations, files; only Flower's network is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from local_grid import Finished, run_local, simulated_nodes, small_settings
from safetensors.numpy import load_file

from common.data.defects import load_regions
from common.data.images import read_size
from common.data.layout import index_data
from common.evaluation import EvaluationCounts, build_metrics
from common.evaluation.judge import judge
from common.patchcore import PatchCore

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

Run = Callable[..., Finished]


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


@pytest.mark.parametrize(
    ("scope", "score"),
    [("shared", "max"), ("category", "max"), ("shared", "top-5"), ("category", "reweighted")],
)
def test_metrics_of_merged_counts_equal_those_of_one_place(
    run: Run, parts: Path, scope: str, score: str
) -> None:
    stations = run(bank_scope=scope, image_score=score)
    server = run(bank_scope=scope, image_score=score, evaluation="server")
    assert server.bank == stations.bank
    metrics, judged = stations.metrics, server.metrics
    by_station = [
        {name: told["threshold"].pop("stations") for name, told in every.items()}
        for every in (metrics, judged)
    ]
    assert judged == metrics
    for category, told in metrics.items():  # only stations that judge know whose images they were
        for label, rate in (("good_images", "false_alarms"), ("defective_images", "detections")):
            found = [sum(own[label] for own in one[category].values()) for one in by_station]
            assert found == [told["counts"][label], 0]
            alarms = sum(own[rate] for own in by_station[0][category].values())
            name = {"false_alarms": "false_alarm_rate", "detections": "detection_rate"}[rate]
            assert alarms == pytest.approx(told["threshold"][f"{name}_on_test"] * found[0])
    assert all(s["bytes_up"] < stations.stations[n]["bytes_up"] for n, s in server.stations.items())
    # And a third way: the saved model, all test images, one process.
    model, index = PatchCore.load(stations.folder), index_data(parts)
    for category, told in stations.metrics.items():
        test = index.select("test", category)
        counts = judge(model, index, category, test, (), EvaluationCounts).evaluation
        pooled = build_metrics(
            counts.compute(),
            method=told["method"],
            category=category,
            synthetic_data=True,
            weights=told["weights"],
        )
        for key in ("localization", "classification", "per_defect_type", "counts"):
            assert told[key] == pooled[key], (category, key)


def test_defects_smaller_than_a_patch_are_counted_by_whoever_judges(run: Run, parts: Path) -> None:
    """Counts alone: no file, no path."""
    index, wanted = index_data(parts), Counter[str]()
    for sample in index.select("test"):
        size = read_size(sample.path)
        for region in load_regions(sample, index.categories[sample.category], size) or ():
            rows, columns = region.mask.nonzero()
            longest = max(np.ptp(rows), np.ptp(columns)) + 1
            # Seen at 32 pixels, a patch is a quarter of the shorter side.
            wanted[sample.category] += bool(4 * longest < min(size))
    assert sum(wanted.values()) > 0
    for evaluation in ("stations", "server"):
        done, told = run(image_size=32, evaluation=evaluation), Counter[str]()
        for notice in done.run["notices"]:
            if found := re.search(r"(\w+): (\d+) of \d+ annotated defects", notice):
                told[found[1]] += int(found[2])
                assert notice.startswith("station-") == (evaluation == "stations")
                assert ".png" not in notice
        assert told == +wanted


def test_bank_scope_category_makes_one_bank_a_part_of_the_same_size_in_all(run: Run) -> None:
    done = run(bank_scope="category", partition="category")
    banks = load_file(done.folder / "model" / "bank.safetensors")
    assert set(banks) == {"pipe_clip", "pipe_staple", "tank_screw"}
    assert sum(len(rows) for rows in banks.values()) == 40
    assert done.run["bank"]["scope"] == "category"
    assert set(done.metrics) == set(banks)


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
