"""`plant status` while a model is delivered: whose it is, and to which stations it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.cli.plant_server import _delivery_line
from common.plant.server.progress import told_runs
from common.runs.unfinished import held


def record(folder: Path, status: str, deliver: str = "", **states: str | None) -> Path:
    """A run's record; by station the state of its delivery."""
    content: dict[str, Any] = {
        "status": status,
        "flower_run_id": folder.name,
        "settings": {"deliver": deliver, "without": "press"},
        "progress": None,
        "stations": [
            {"name": name, "status": "used", "delivery": state and {"state": state}}
            for name, state in states.items()
        ],
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(content))
    return folder


def told(folder: Path) -> dict[str, Any]:
    listed = [{"run-id": folder.name, "status": "running", "elapsed": 3}]
    (one,) = told_runs(listed, folder.parent, [])
    return one


def test_a_run_that_delivers_its_own_model(tmp_path: Path) -> None:
    folder = record(tmp_path / "7", "completed", gate="pending", mill="pending", press="failed")
    with held(folder):
        found = told(folder)
    assert found["delivery"] == {"model_of": "7", "stations": ["gate", "mill"]}
    assert _delivery_line(found) == "Run 7 delivers its model to gate, mill"


def test_one_that_was_killed_at_it_delivers_no_more(tmp_path: Path) -> None:
    assert told(record(tmp_path / "7", "completed", gate="pending"))["delivery"] is None


def test_a_run_that_delivers_an_earlier_one_again(tmp_path: Path) -> None:
    folder = record(tmp_path / "9", "running", deliver="7", gate=None, mill=None, press=None)
    with held(folder):
        found = told(folder)
    assert found["delivery"] == {"model_of": "7", "stations": ["gate", "mill"]}
    assert _delivery_line(found) == "Run 9 delivers the model of run 7 to gate, mill"


@pytest.mark.parametrize("status", ["running", "completed"])
def test_a_run_that_delivers_nothing_at_this_moment(tmp_path: Path, status: str) -> None:
    folder = record(tmp_path / "7", status, gate="active" if status == "completed" else None)
    with held(folder):
        assert told(folder)["delivery"] is None
