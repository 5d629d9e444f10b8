"""Whatever dies in mid-run, a record says how the run ended, and nothing is lost but time.

One plant serves all tests here, in this order: each leaves three stations that are served.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_grid import Finished
from processes import wait_for
from secure_plant import STATIONS, SecurePlant, secure_plant

from common.runs.processes import children_of

pytestmark = [pytest.mark.flower, pytest.mark.plant]


@pytest.fixture(scope="module")
def plant(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurePlant]:
    with secure_plant(tmp_path_factory.mktemp("plant"), tiny_data) as running:
        yield running


def others_have_built(plant: SecurePlant, run_id: str, held: str) -> bool:
    told = (plant.record(run_id).get("progress") or {}).get("stations", [])
    states = {one["name"]: (one["step"], one["state"]) for one in told}
    return states == {
        name: ("build banks", "asked" if name == held else "answered") for name in STATIONS
    }


def in_mid_run(plant: SecurePlant, run_id: str, held: str) -> None:
    wait_for("the others' rows", lambda: others_have_built(plant, run_id, held), 300)


def superexec(plant: SecurePlant) -> int:
    (found,) = children_of(plant.running["executor"].pid)
    return found


def serverapp(plant: SecurePlant) -> int:
    (found,) = children_of(superexec(plant))
    return found


def status(plant: SecurePlant, run_id: str) -> dict[str, object]:
    runs = str(plant.folder / "runs")
    told: dict[str, object] = json.loads(
        plant.administer("status", run_id, "--runs", runs, "--json")
    )
    return told


def test_a_station_killed_costs_the_quorum_and_the_others_begin_again_from_their_rows(
    plant: SecurePlant,
) -> None:
    first = plant.submit()
    with plant.held("clips", first.run_id):
        in_mid_run(plant, first.run_id, "clips")
        running = plant.record(first.run_id)
        assert (running["status"], running["finished"], running["error"]) == ("running", None, None)
        told = status(plant, first.run_id)
        (one,) = told["runs"]  # type: ignore[misc]
        assert one["record"] == "running"
        assert one["progress"]["step"] == "build banks"
        states = {s["name"]: s["state"] for s in one["progress"]["stations"]}
        assert states == {"assembly": "answered", "clips": "asked", "quality": "answered"}
        assert not any("node" in key for key in _keys(told))
        runs = ("--runs", str(plant.folder / "runs"))
        shown = plant.administer("status", first.run_id, *runs)
        assert f"Run {first.run_id}: build banks of round 1" in shown
        # An unfinished run is no result.
        refused = plant.command("result", first.run_id, "--out", "half", *runs, code=2)
        assert "the run goes on, at step build banks of round 1" in refused
        refused = plant.administer("run", "--resume", first.run_id, *runs, code=2)
        assert "the run goes on" in refused
        plant.kill("clips")
    failed = first.finished(1)
    assert failed.run["status"] == "failed"
    assert "after building banks in round 1 2 of 3 stations are left" in failed.run["error"]
    assert "its SuperNode went away" in failed.stations["clips"]["reason"]
    assert failed.run["progress"]["step"] == "merge the banks"
    assert any(f"plant run --resume {first.run_id}" in one for one in failed.run["notices"])

    plant.start_station("clips")
    plant.wait_until_served("clips")
    refused = plant.administer("run", "--resume", first.run_id, *runs, "--set=seed=7", code=2)
    assert f"--set seed=7: run {first.run_id} had seed=42" in refused
    # Whatever dies between server and stations meanwhile costs the second run nothing but time.
    second = plant.submit(resume=first.run_id)
    with plant.held("clips", second.run_id):
        in_mid_run(plant, second.run_id, "clips")
        working = serverapp(plant)
        os.kill(superexec(plant), signal.SIGKILL)
        # The network is cut, for less than the 60 s after which Flower gives a station up. (The
        # SuperLink is killed in mid-run in `test_secure_plant`.)
        plant.kill("gateway")
        time.sleep(10)
        plant.start_gateway()
        wait_for("another SuperExec", lambda: "starting it again" in plant.log("executor"), 60)
        assert Path(f"/proc/{working}").exists()
    done = second.finished()
    assert "SuperExec was killed by signal 9" in plant.log("executor")
    assert done.run["summary"] == "used 3 of 3"
    assert done.run["progress"] is None
    assert done.run["settings"] == failed.run["settings"]
    # Both runs together looked at each image once: the first at those for the banks, the second at
    # those for the scores. Who had chosen rows only read them: there is one set each.
    for name in ("assembly", "quality"):
        images = list((plant.folder / "images" / name).glob("*/t*/*/*.png"))
        once = [run.stations[name]["images_extracted"] for run in (failed, done)]
        assert sum(once) == len(images), (name, once)
        assert once[0] > 0
        assert len(list((plant.cache(name) / "rows").glob("*.npz"))) == 1
    refused = plant.administer("run", "--resume", second.run_id, *runs, code=2)
    assert "the run completed" in refused


def test_a_serverapp_killed_leaves_a_record(plant: SecurePlant) -> None:
    submitted = plant.submit()
    with plant.held("quality", submitted.run_id):
        in_mid_run(plant, submitted.run_id, "quality")
        os.kill(serverapp(plant), signal.SIGKILL)
        wait_for("its record", lambda: plant.ended(submitted.run_id), 30)
    record = plant.record(submitted.run_id)
    assert record["status"] == "killed"
    assert record["error"].startswith("killed at step build banks of round 1 (since ")
    assert f"Lost is nothing but time: {'the stations keep'}" in record["error"]
    assert f"plant run --resume {submitted.run_id}" in record["error"]
    assert submitted.wait(300) == 1
    assert "(run.json alone)" in submitted.output
    assert "killed at step build banks" in plant.log("executor")


def test_a_run_is_stopped_by_the_administrator(plant: SecurePlant) -> None:
    runs = ("--runs", str(plant.folder / "runs"))
    assert "knows no run 1;" in plant.administer("stop", "1", *runs, code=1)
    submitted = plant.submit()
    with plant.held("assembly", submitted.run_id):
        in_mid_run(plant, submitted.run_id, "assembly")
        told = plant.administer("stop", submitted.run_id, *runs)
    assert "stopped by the administrator at step build banks of round 1" in told
    record = plant.record(submitted.run_id)
    assert record["status"] == "stopped"
    assert record["error"].startswith("stopped by the administrator at step build banks")
    assert submitted.wait(120) == 1
    again = plant.administer("stop", submitted.run_id, *runs, code=1)
    assert "has ended already (finished:stopped)" in again
    out = plant.folder / "stopped"
    told = plant.command("result", submitted.run_id, "--out", str(out), *runs, code=1)
    assert "stopped by the administrator" in told


def test_an_executor_ends_in_time_and_leaves_no_run_without_a_word(plant: SecurePlant) -> None:
    submitted = plant.submit()
    with plant.held("clips", submitted.run_id):
        in_mid_run(plant, submitted.run_id, "clips")
        process, began = plant.running.pop("executor"), time.monotonic()
        process.terminate()
        assert process.wait(30) == 0
        assert time.monotonic() - began < 10
    record = plant.record(submitted.run_id)
    assert record["status"] == "stopped"
    assert record["error"].startswith("stopped by the end of the server's executor at step build")
    # Nobody takes this one, and it leaves a record all the same.
    waiting = plant.submit()
    runs = ("--runs", str(plant.folder / "runs"))
    told = plant.administer("stop", waiting.run_id, *runs)
    assert "stopped by the administrator before an executor had begun it" in told
    assert plant.record(waiting.run_id)["status"] == "stopped"
    plant.start_executor()
    assert submitted.wait(300) == waiting.wait(300) == 1
    assert "ended as finished:stopped: its run.json says why" in waiting.output


def test_everything_killed_at_once_and_started_again(plant: SecurePlant) -> None:
    submitted = plant.submit()
    with plant.held("quality", submitted.run_id):
        in_mid_run(plant, submitted.run_id, "quality")
        for name in ("executor", "gateway", "superlink", *STATIONS):
            plant.kill(name)
        assert plant.record(submitted.run_id)["status"] == "running"  # nobody could say more
    plant.start_server()
    for name in STATIONS:
        plant.start_station(name)
    wait_for("its record", lambda: plant.ended(submitted.run_id), 60)
    assert plant.record(submitted.run_id)["error"].startswith("killed at step build banks")
    plant.wait_until_served(*STATIONS)
    assert submitted.wait(300) == 1
    done = plant.submit(resume=submitted.run_id).finished()
    assert done.run["summary"] == "used 3 of 3"
    assert done.extracted == 0
    assert Finished(done.folder).bank


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return {str(key) for key in value} | {k for own in value.values() for k in _keys(own)}
    if isinstance(value, list):
        return {key for own in value for key in _keys(own)}
    return set()
