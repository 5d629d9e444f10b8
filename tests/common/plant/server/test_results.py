"""Fetching a run of a real plant: whole or not at all, and what is said when it is not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.cli.main import run
from common.errors import InputError
from common.plant.server.results import fetch_result, result_failed, runs_folder

RUN = {
    "status": "completed",
    "error": None,
    "method": "federated",
    "data": {"synthetic": True, "categories": []},
    "feature_space": None,
    "bank": None,
    "seconds": {"total": 3.0},
    "stations": [],
    "notices": ["used 4 of 5, missing clips: not online"],
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The server's folder of runs: one that completed, one that failed, one being written."""
    folder = tmp_path / "runs"
    for name, facts in (
        ("12", RUN),
        ("13", {**RUN, "status": "failed", "error": "1 of 5 stations are left"}),
    ):
        (folder / name / "model").mkdir(parents=True)
        (folder / name / "run.json").write_text(json.dumps(facts))
        (folder / name / "model" / "bank.safetensors").write_bytes(b"rows")
    (folder / "14.77.partial").mkdir()
    (folder / ".flower").mkdir()
    return folder


def test_a_result_is_a_copy(runs: Path, tmp_path: Path) -> None:
    out = fetch_result("12", tmp_path / "deep" / "out", runs)
    assert json.loads((out / "run.json").read_text()) == RUN
    assert (out / "model" / "bank.safetensors").read_bytes() == b"rows"
    assert (runs / "12" / "run.json").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert result_failed(out) is None
    again = fetch_result("13", out, runs)
    assert result_failed(again) == "1 of 5 stations are left"
    assert result_failed(out.with_name("out.1")) is None


def test_what_is_not_there_is_explained(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"not there \(yet\): finished runs here: 12, 13"):
        fetch_result("99", out, runs)
    with pytest.raises(InputError, match="being written at this moment"):
        fetch_result("14", out, runs)
    with pytest.raises(InputError, match="no such folder; run this on the server"):
        fetch_result("12", out, tmp_path / "elsewhere")
    shutil.rmtree(runs)
    runs.mkdir()
    with pytest.raises(InputError, match="no run is here yet"):
        fetch_result("12", out, runs)
    assert not out.exists()


@pytest.mark.parametrize("run_id", ["../12", "12/model", "", "-1", "1e3", ".flower"])
def test_a_run_id_is_no_path(runs: Path, tmp_path: Path, run_id: str) -> None:
    with pytest.raises(InputError, match="expected digits"):
        fetch_result(run_id, tmp_path / "out", runs)


def test_what_cannot_be_copied_leaves_nothing(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        fetch_result("12", tmp_path / "file", runs)
    (runs / "12" / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(shutil.Error, match="dangling"):
        fetch_result("12", tmp_path / "out", runs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "runs"]


def test_where_runs_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FEDPATCHCORE_RUNS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runs_folder() == tmp_path / ".fedpatchcore" / "runs"
    monkeypatch.setenv("FEDPATCHCORE_RUNS", "/srv/runs")
    assert runs_folder() == Path("/srv/runs")
    assert runs_folder(Path("/given")) == Path("/given")


def test_the_command(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert run(["result", "12", "--out", out, "--runs", str(runs)]) == 0
    assert "used 4 of 5, missing clips: not online" in " ".join(capsys.readouterr().out.split())
    assert run(["result", "13", "--out", out, "--runs", str(runs)]) == 1
    assert "run 13 failed: 1 of 5 stations are left" in capsys.readouterr().err
    assert run(["result", "99", "--out", out, "--runs", str(runs)]) == 2
