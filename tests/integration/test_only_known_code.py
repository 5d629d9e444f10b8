"""A plant runs the app that it knows: another is refused by name, and nothing of it is imported.

One plant serves all tests here, in this order.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
from local_grid import Finished
from machine_cases import fill, mounted
from processes import wait_for
from secure_plant import SMALL, STATIONS, SecurePlant, secure_plant

from common.plant.app.content import PROJECT
from common.plant.app.installed import installed_app
from common.plant.server.administration import Plant
from common.runs.flower_run import app_folder

pytestmark = [pytest.mark.flower, pytest.mark.plant]
OWN = installed_app().hash
WARNING = 'trusted-app is "any": this station runs whatever app is submitted'


@pytest.fixture(scope="module")
def plant(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurePlant]:
    with secure_plant(tmp_path_factory.mktemp("plant"), tiny_data) as running:
        yield running


class Stranger:
    """A copy of the app that says who has imported it: one file for each home of Flower's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.traces = folder / "app", folder / "traces"
        self.traces.mkdir(parents=True)
        for name in ("client_app", "common", "server_app"):
            shutil.copytree(app_folder() / name, self.folder / name)
        shutil.copy(app_folder() / PROJECT, self.folder)
        first = self.folder / "common" / "__init__.py"
        # Behind the docstring and `from __future__`, which must be first.
        first.write_text(
            first.read_text()
            + "\nimport os as _os, pathlib as _pathlib, uuid as _uuid\n"
            + f"(_pathlib.Path({str(self.traces)!r}) / _uuid.uuid4().hex).write_text("
            + "_os.environ.get('FLWR_HOME', 'nobody'))\n"
        )

    @property
    def hash(self) -> str:
        return installed_app(self.folder).hash

    def imported_below(self, folder: Path) -> bool:
        homes = [Path(trace.read_text()) for trace in self.traces.iterdir()]
        return any(home.is_relative_to(folder) for home in homes)

    def unpacked_below(self, folder: Path) -> list[Path]:
        mark = self.traces.name.encode()
        return [
            path for path in folder.rglob("__init__.py")
            if path.parent.name == "common" and mark in path.read_bytes()
        ]  # fmt: skip


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return Stranger(tmp_path_factory.mktemp("stranger"))


def submit(plant: SecurePlant, app: Path, *changes: str) -> str:
    """Submit a run of an app as anybody can who reaches the SuperLink."""
    config = {**SMALL, **dict(change.split("=", 1) for change in changes)}
    with Plant(plant.server_keys, plant.superlink).flwr() as flwr:
        path = flwr.folder / "run.toml"
        numbers = {key: int(v) if str(v).isdigit() else v for key, v in config.items()}
        path.write_text(tomli_w.dumps(numbers))
        return str(flwr.ask("run", str(app), f"--run-config={path}")["run-id"])


def details(plant: SecurePlant, run_id: str) -> tuple[str, str]:
    with Plant(plant.server_keys, plant.superlink).flwr() as flwr:
        return flwr.wait_for_end(run_id, time.monotonic() + 240)


def finished(plant: SecurePlant, run_id: str) -> Finished:
    folder = plant.folder / "runs" / run_id

    def ended() -> bool:
        path = folder / "run.json"  # there from the begin, and replaced whole
        return path.exists() and json.loads(path.read_text())["status"] != "running"

    wait_for(f"run {run_id}", ended, 400)
    return Finished(folder)


def restart(plant: SecurePlant, *stations: str, **changes: str) -> None:
    for name in stations:
        plant.stop(name)
        plant.start_station(name, **changes)
    plant.wait_until_served(*stations)


def test_the_server_refuses_an_app_that_it_does_not_know(
    plant: SecurePlant, stranger: Stranger
) -> None:
    run_id = submit(plant, stranger.folder)
    status, why = details(plant, run_id)
    assert status == "finished:failed"
    assert f"the app {stranger.hash} is not one that this server allows ({OWN}); " in why
    assert "give the executor the hash with --trusted-app" in why
    assert list(stranger.traces.iterdir()) == []
    assert stranger.unpacked_below(plant.folder) == []
    assert f"[fedpatchcore] failed: the app {stranger.hash}" in plant.log("executor")
    record = plant.record(run_id)
    assert record["status"] == "failed"
    assert record["error"].startswith(f"the app {stranger.hash} is not one that this server")
    assert (record["settings"], record["stations"]) == ({}, [])
    # Nothing of it reached a station: its run ended before it began.
    assert stranger.hash not in "".join(plant.log(name) for name in STATIONS)


def test_every_station_refuses_it_by_name(plant: SecurePlant, stranger: Stranger) -> None:
    plant.stop("executor")
    plant.start_executor("--trusted-app", "any")
    done = finished(plant, submit(plant, stranger.folder))
    assert done.run["status"] == "failed"
    assert {n: s["status"] for n, s in done.stations.items()} == dict.fromkeys(STATIONS, "refused")
    for name in STATIONS:
        reason = done.stations[name]["reason"]
        assert reason.startswith(
            f"the app {stranger.hash} is not one that this station allows ({OWN}); install"
        )
        assert reason.endswith(
            "put the hash into trusted-app of its station.toml "
            "(without a signature: anybody on the way can say so)"
        )
        assert not stranger.imported_below(plant.cache(name))
        assert stranger.unpacked_below(plant.cache(name)) == []
        assert f"is refused: the app {stranger.hash}" in plant.log(name)
    assert f"refused {', '.join(STATIONS)}: the app {stranger.hash}" in done.run["summary"]
    assert 'trusted-app is "any": this server runs whatever app' in plant.log("executor")
    # There it did run, and it was the app's own code, not that of the installation.
    assert stranger.imported_below(plant.folder / "runs")


def test_stations_that_trust_it_run_it(plant: SecurePlant, stranger: Stranger) -> None:
    restart(plant, "assembly", trusted=json.dumps([OWN, stranger.hash]))
    restart(plant, "clips", trusted='"any"')
    done = finished(plant, submit(plant, stranger.folder, "min-stations=2"))
    assert {n: s["status"] for n, s in done.stations.items()} == {
        "assembly": "used", "clips": "used", "quality": "refused",
    }  # fmt: skip
    assert done.run["status"] == "completed"
    for name, took in (("assembly", True), ("clips", True), ("quality", False)):
        assert stranger.imported_below(plant.cache(name)) == took
    assert WARNING in plant.log("clips")
    assert WARNING not in plant.log("assembly") + plant.log("quality")


def test_a_disk_that_was_full_while_the_app_was_unpacked(plant: SecurePlant) -> None:
    """Formerly the folder stayed half unpacked, and every later run failed at the station."""
    plant.stop("quality")
    home = plant.cache("quality") / "flower"
    shutil.rmtree(home)
    with mounted(home, "size=12m", "mode=700") as disk:
        plant.start_station("quality")
        plant.wait_until_served("quality")
        fill(disk, leave=600 * 1024)
        # All stations are needed: the run ends with the survey.
        done = finished(plant, submit(plant, app_folder()))
        assert done.stations["quality"]["status"] == "failed"
        assert done.stations["quality"]["reason"] == (
            "its program raised an error: its disk was full when Flower unpacked the app; make "
            "room there and run again, there is nothing to clear away "
            "(without a signature: anybody on the way can say so)"
        )
        assert list(disk.glob("apps/*/*")) != []  # half unpacked, indeed
        (disk / "filler").unlink()
        told = plant.log("clips").count(WARNING)
        done = finished(plant, submit(plant, app_folder()))
        assert {s["status"] for s in done.stations.values()} == {"used"}
        # It says so in each run anew.
        assert plant.log("clips").count(WARNING) == told + 1
        plant.stop("quality")


def test_what_another_version_left_is_removed_when_a_station_starts(plant: SecurePlant) -> None:
    apps = [plant.cache("quality") / "flower" / "apps", plant.folder / "runs" / ".flower" / "apps"]
    for folder in apps:
        (folder / "fedpatchcore.fedpatchcore.0.1.0.01234567" / "common").mkdir(parents=True)
    plant.start_station("quality")
    plant.stop("executor")
    plant.start_executor()
    plant.wait_until_served("quality")
    wait_for("both to be gone", lambda: not any(folder.exists() for folder in apps), 60)
