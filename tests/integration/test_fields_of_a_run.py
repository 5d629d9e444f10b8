"""Whatever the method, the files of a run have the same fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from local_grid import run_local, small_settings

from common.analysis import load_run
from common.data.layout import index_data
from common.runs.baseline import run_baseline
from common.runs.evaluate import EvaluateOptions, evaluate_model
from common.runs.local import run_local as run_each_alone

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache", "plain_files")

Folders = dict[str, Path]


@pytest.fixture
def folders(parts: Path, tmp_path: Path) -> Folders:
    """Three stations' parts, once by each method; the federation's model is evaluated again."""
    found = {name: tmp_path / name for name in ("centralized", "local", "federated", "evaluated")}
    settings = {
        name: small_settings(parts, folder, num_stations=3, global_bank_size=40)
        for name, folder in found.items()
    }
    index = index_data(parts)
    run_baseline(settings["centralized"], index, found["centralized"])
    run_each_alone(settings["local"], index, found["local"])
    assert run_local(settings["federated"]).error is None
    evaluate_model(found["federated"], index, found["evaluated"], EvaluateOptions())
    return found


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def metrics(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("evaluation/metrics/*/*/metrics.json"))
    assert len(files) == 3
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def test_every_method_writes_the_same_fields(folders: Folders) -> None:
    runs = {name: read(folder, "run.json") for name, folder in folders.items()}
    brought = {n: read(f, "contributions.json")["stations"] for n, f in folders.items()}
    federated = runs["federated"]
    for name, run in runs.items():
        assert run.keys() == federated.keys(), name
        assert run["bank"].keys() == federated["bank"].keys(), name
        assert {"score", "write", "total"} <= run["seconds"].keys(), name
        count = 3 if name in ("local", "federated") else 0
        assert (len(run["stations"]), len(brought[name])) == (count, count), name
        for line in run["stations"]:
            assert line.keys() == federated["stations"][0].keys(), name
        for line in brought[name]:
            assert line.keys() == brought["federated"][0].keys(), name
        for found, wanted in zip(
            metrics(folders[name]), metrics(folders["federated"]), strict=True
        ):
            assert found.keys() == wanted.keys(), name
            # Only stations can be told apart, so only where there are any.
            here = wanted["threshold"].keys() - (set() if count else {"stations"})
            assert found["threshold"].keys() == here, name
        assert load_run(folders[name]).contributions == tuple(brought[name])


def test_a_station_by_itself_is_told_as_one_of_a_federation(folders: Folders) -> None:
    """The same images on both sides; the rest is what a run without letters has."""
    alone, together = (
        {line["name"]: line for line in read(folders[name], "contributions.json")["stations"]}
        for name in ("local", "federated")
    )
    rows = read(folders["local"], "run.json")["bank"]["rows"]
    assert list(alone) == list(together)
    for name, own in alone.items():
        for key in ("images", "patches", "categories"):
            assert own[key] == together[name][key], (name, key)
        assert (own["rows_sent"], own["bytes"]) == (0, 0)
        assert own["rows_chosen"] == own["budget"] == rows[name]
    run = read(folders["local"], "run.json")
    assert run["summary"] == "used 3 of 3"
    assert [one["joined_round"] for one in run["stations"]] == [None] * 3
    for found in metrics(folders["local"]):
        told = found["threshold"]["stations"]
        assert sum(own["good_images"] for own in told.values()) == found["counts"]["good_images"]
        assert found["threshold"]["drift"]["images"] == found["counts"]["good_images"]
