"""Flower's own programs on loopback, without keys: stand-ins of a simulation take part, no others.

What a plant with keys gives is in `test_secure_plant`.
"""

from __future__ import annotations

import contextlib
import json
import os
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
from plant_results import require_no_path, require_same
from processes import MARK, free_port, marked, started, wait_for

from common.config import Settings
from common.patchcore.network.weights import expected_shapes, random_state
from common.runs.flower_run import app_folder

pytestmark = [pytest.mark.flower, pytest.mark.usefixtures("flower_task", "plain_files")]

TOOLS = Path(sys.executable).parent
CARELESS = "careless"
"""A station with images of its own that somebody started without its file and keys."""


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
        # The file first: asking Flower costs more processor time than the stations' work. It is
        # there from the run's first second, and says when the run has ended.
        wait_for(f"the end of run {run_id}", lambda: told(folder) != "running", seconds)
        status = ""

        def ended() -> bool:
            nonlocal status
            status = self.status(run_id)
            return "finished" in status

        wait_for("Flower's own end of it", ended, 60)
        assert status == "finished:completed", self.log[-3000:]
        return Finished(folder)


def told(folder: Path) -> str:
    """How a run stands by its own word; `running` before its first."""
    path = folder / "run.json"
    return str(json.loads(path.read_text())["status"]) if path.is_file() else "running"


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
    configs: dict[str, dict[str, Any]] = {
        "first": {"partition-id": 0, "num-partitions": 2},
        "second": {"partition-id": 1, "num-partitions": 2},
        CARELESS: {"station": CARELESS, "data-root": str(tiny_data), "weights": str(weights)},
    }
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
        for name, config in configs.items():
            supernode = [
                str(TOOLS / "flower-supernode"),
                "--insecure",
                f"--superlink=127.0.0.1:{port}",
                f"--port={free_port()}",
                "--node-config="
                + " ".join(f"{key}={json.dumps(value)}" for key, value in config.items()),
            ]
            own = {**environment, "FLWR_HOME": str(home / name)}
            stack.enter_context(started(supernode, home / f"{name}.log", own))
        running = Plant(home, environment)
        wait_for("all of them online", lambda: _online(running) == len(configs), 120)
        yield running
    # A station's ClientApp may be a session of its own: nothing at all may be left.
    wait_for("the end of all processes", lambda: not marked(mark), 30)


def _online(plant: Plant) -> int:
    with contextlib.suppress(AssertionError):  # the SuperLink is not up yet
        nodes = plant.flwr("supernode", "list", "plant").get("nodes", [])
        return sum(node["status"] == "online" for node in nodes)
    return 0


def test_stand_ins_run_without_keys_and_a_real_station_does_not(
    plant: Plant, tiny_data: Path, tmp_path: Path, weights: Path
) -> None:
    settings = small_settings(
        tiny_data, tmp_path / "ignored", num_stations=2, weights=str(weights), min_stations=2
    )
    done = plant.finish(plant.submit(settings), 240)

    # A real one obeys nobody whom it cannot know; the others are parts of a simulation.
    (refused,) = [s for s in done.run["stations"] if s["status"] != "used"]
    assert refused["status"] == "failed"
    assert (
        f"station {CARELESS} is a real one and was started without its app-key"
        in (refused["reason"])
    )
    assert (
        "in its station.toml, and start it with `fedpatchcore plant station`" in (refused["reason"])
    )
    said = (plant.folder / f"{CARELESS}.log").read_text(errors="replace")
    assert "refused a request, nothing was done: station careless is a real one" in said
    assert any("letters are not signed: this server has" in told for told in done.run["notices"])
    assert done.run["summary"].startswith("used 2 of 3, failed node-")

    # The network changes nothing, and no path of this machine is told.
    assert not (tmp_path / "ignored").exists()
    assert done.run["settings"]["data-root"] == done.run["settings"]["output-dir"] == ""
    require_no_path(done, tmp_path)
    simulated = run_local(settings.with_(output_dir=str(tmp_path / "simulated")))
    require_same(done, simulated, ("station-0", "station-1"))
