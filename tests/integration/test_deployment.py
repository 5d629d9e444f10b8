"""A plant on loopback: one SuperLink, two SuperNodes with their own folders, real processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from local_grid import Finished, run_local, small_settings
from processes import MARK, free_port, marked, started, wait_for

from common.config import Settings
from common.data.layout import index_data
from common.data.partition import make_partition
from common.data.split import lay_out
from common.patchcore.network.weights import expected_shapes, random_state
from common.protocol.messages import without_paths
from common.runs.flower_run import app_folder

pytestmark = [pytest.mark.flower, pytest.mark.usefixtures("flower_task", "plain_files")]

TOOLS = Path(sys.executable).parent
STATIONS = ("assembly", "clips")
"""In the order of the simulation's station-0, station-1."""


@dataclass
class Plant:
    """What runs, where it writes, and how to talk to it."""

    folder: Path
    environment: dict[str, str]

    @property
    def log(self) -> str:
        return (self.folder / "superlink.log").read_text(errors="replace")

    def flwr(self, *words: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(TOOLS / "flwr"), *words, "--format=json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "{" in done.stdout, done.stdout + done.stderr
        return json.loads(done.stdout[done.stdout.index("{") :])

    def submit(self, settings: Settings) -> str:
        config = self.folder / "run.toml"
        pairs = settings.to_run_config().items()
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in pairs))
        return str(self.flwr("run", str(app_folder()), "plant", f"--run-config={config}")["run-id"])

    def status(self, run_id: str) -> str:
        return str(self.flwr("list", "plant", f"--run-id={run_id}")["runs"][0]["status"])

    def finish(self, run_id: str, seconds: float) -> Finished:
        folder = self.folder / "runs" / run_id
        # The file first: asking Flower costs more processor time than the stations' work.
        wait_for(f"the end of run {run_id}", (folder / "run.json").exists, seconds)
        status = ""

        def ended() -> bool:
            nonlocal status
            status = self.status(run_id)
            return "finished" in status

        wait_for("Flower's own end of it", ended, 60)
        assert status == "finished:completed", self.log[-3000:]
        return Finished(folder)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(random_state(expected_shapes("resnet18", ("layer2", "layer3")), 3), path)
    return path


@pytest.fixture
def plant(
    tiny_data: Path, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Plant]:
    """Start everything, and end it whatever happens."""
    mark, home, port = uuid.uuid4().hex, tmp_path / "plant", free_port()
    home.mkdir()
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    environment = {
        **os.environ,
        MARK: mark,
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FEDPATCHCORE_RUNS": str(home / "runs"),
        "PYTHONUNBUFFERED": "1",
    }
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "plant"\n\n[superlink.plant]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    index = index_data(tiny_data)
    partition = make_partition(index.samples, "iid", len(STATIONS), seed=42)
    folders = lay_out(index, partition, tmp_path / "stations")
    with contextlib.ExitStack() as stack:
        superlink = [
            str(TOOLS / "flower-superlink"),
            "--insecure",
            "--host=127.0.0.1",
            f"--port={port}",
            f"--control-api-address=127.0.0.1:{free_port()}",
            "--disable-runtime-dependency-installation",
        ]
        stack.enter_context(started(superlink, home / "superlink.log", environment))
        for name, folder in zip(STATIONS, folders.values(), strict=True):
            config = {
                "station": name,
                "data-root": str(folder),
                "weights": str(weights),
                "cache-dir": str(tmp_path / "station-caches" / name),
            }
            supernode = [
                str(TOOLS / "flower-supernode"),
                "--insecure",
                f"--superlink=127.0.0.1:{port}",
                f"--port={free_port()}",
                "--node-config=" + " ".join(f'{key}="{value}"' for key, value in config.items()),
            ]
            own = {**environment, "FLWR_HOME": str(home / name)}
            stack.enter_context(started(supernode, home / f"{name}.log", own))
        running = Plant(home, environment)
        wait_for("both stations online", lambda: _online(running) == len(STATIONS), 120)
        yield running
    # A station's ClientApp may be a session of its own: nothing at all may be left.
    wait_for("the end of all processes", lambda: not marked(mark), 30)


def _online(plant: Plant) -> int:
    with contextlib.suppress(AssertionError):  # the SuperLink is not up yet
        nodes = plant.flwr("supernode", "list", "plant").get("nodes", [])
        return sum(node["status"] == "online" for node in nodes)
    return 0


def strings(content: Any) -> Iterator[str]:
    """Every string in a JSON document, keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from strings(value)


def test_a_plant_of_real_processes(
    plant: Plant, tiny_data: Path, tmp_path: Path, weights: Path
) -> None:
    settings = small_settings(
        tiny_data, tmp_path / "ignored", num_stations=2, weights="/not/on/any/station.pth"
    )
    done = plant.finish(plant.submit(settings), 240)

    # The stations are those of the node configs, and none of them was told where to look.
    assert done.run["method"] == "federated"
    assert {name: s["status"] for name, s in done.stations.items()} == dict.fromkeys(
        STATIONS, "used"
    )
    assert not (tmp_path / "ignored").exists()
    assert done.run["settings"]["data-root"] == done.run["settings"]["output-dir"] == ""
    notices = " | ".join(done.run["notices"])
    assert "assembly: the run's data-root is ignored" in notices
    assert done.run["feature_space"]["weights"] == "local file"
    assert done.extracted == 62

    # No path and no image's name in anything that is written.
    for path in done.folder.rglob("*.json"):
        for text in strings(json.loads(path.read_text())):
            assert without_paths(text) == text, (path.name, text)
            assert ".png" not in text, (path.name, text)
    report = (done.folder / "report.html").read_text()
    assert str(tmp_path) not in report
    assert re.search(r"\b\d{4}\.png", report) is None

    # What the simulation of the same partition gives, bit for bit.
    simulated = run_local(
        settings.with_(weights=str(weights), output_dir=str(tmp_path / "simulated"))
    )
    assert simulated.error is None
    assert simulated.bank == done.bank
    assert _comparable(simulated) == _comparable(done)
    for real, name in zip(STATIONS, ("station-0", "station-1"), strict=True):
        for key in ("images", "patches", "budget", "rows_sent", "rows_chosen", "radius"):
            assert done.contributions[real][key] == simulated.contributions[name][key]


def _comparable(done: Finished) -> Any:
    """Metrics without the words in which a plant and its simulation differ."""
    told = {
        category: {key: value for key, value in told.items() if key not in ("method", "weights")}
        for category, told in done.metrics.items()
    }
    text = json.dumps(told)
    for number, name in enumerate(STATIONS):
        text = text.replace(name, f"station-{number}")
    return json.loads(text)
