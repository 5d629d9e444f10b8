"""Stations with their own folders and weights, as on a plant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from local_grid import Finished, run_local, small_settings
from station_folders import EVERYTHING, give, real_nodes

from common.errors import RunError
from common.patchcore.network.weights import expected_shapes, random_state

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

Run = Callable[..., Finished]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "plant"


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
    assert "no test image of tank_screw: it was not evaluated" in notices
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
