"""A real `flwr run` in simulation, through the function that the command line calls."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from local_grid import Finished, run_local, small_settings
from processes import MARK, marked, wait_for

from common.errors import RunError
from common.runs.simulation import run_simulation

pytestmark = [pytest.mark.flower, pytest.mark.usefixtures("flower_task", "plain_files")]


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Environment of the runs, with a mark by which their processes are known."""
    chosen = uuid.uuid4().hex
    monkeypatch.setenv(MARK, chosen)
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "plant"))  # is for plants only
    return chosen


def test_a_simulation_equals_the_run_in_one_process_and_leaves_nothing_running(
    tiny_data: Path, tmp_path: Path, mark: str
) -> None:
    settings = small_settings(
        tiny_data, tmp_path / "flower", num_stations=3, num_server_rounds=2, min_stations=3
    )
    steps: list[str] = []
    folder = run_simulation(settings, steps.append)
    assert folder == tmp_path / "flower"
    done = Finished(folder)
    assert done.run["status"] == "completed"
    assert int(done.run["flower_run_id"]) > 1
    assert len({station["name"] for station in done.run["stations"]}) == 3
    assert {s["status"] for s in done.run["stations"]} == {"used"}
    # What the server says on its way arrives line by line.
    assert any(step.startswith("survey: 3 stations hold") for step in steps)
    assert any(step.startswith("round 2: global bank of 200 rows") for step in steps)
    # Every image once, over two rounds, in processes of their own.
    assert done.extracted == 62
    assert not (tmp_path / "plant").exists()
    here = run_local(settings.with_(output_dir=str(tmp_path / "local")))
    assert here.bank == done.bank
    assert here.metrics == done.metrics
    assert here.extracted == 0  # the same cache, the same keys
    wait_for("the end of all processes", lambda: not marked(mark), 20)


@pytest.mark.usefixtures("one_core")
def test_a_run_that_fails_raises_with_the_servers_reason(
    tiny_data: Path, tmp_path: Path, mark: str
) -> None:
    settings = small_settings(
        tiny_data, tmp_path / "failed", num_stations=2, weights=str(tmp_path / "missing.pth")
    )
    with pytest.raises(RunError) as error:
        run_simulation(settings)
    text = str(error.value)
    assert "finished:failed" in text
    assert "no station gave a usable answer to the survey" in text
    assert "missing.pth': no such file" in text
    done = Finished(tmp_path / "failed")
    assert done.run["status"] == "failed"
    assert done.run["error"] in text
    wait_for("the end of all processes", lambda: not marked(mark), 20)
