"""Files that version 0.1.0 wrote are read to the same figures, or refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.analysis import find_runs
from common.analysis.report import write_report
from common.cli.main import run
from common.errors import InputError
from common.evaluation import load_metrics
from common.patchcore import PatchCore
from common.plant.station.station_file import read_station_file

FILES = Path(__file__).parent / "fixtures" / "first_version"
MODELS = {
    "federated_shared": FILES / "runs" / "federated_shared",
    "centralized": FILES / "runs" / "centralized",
    "federated_category_int8": FILES / "models" / "federated_category_int8",
    "centralized_percentile_no_threshold": FILES / "models" / "centralized_percentile_no_threshold",
}


@pytest.mark.parametrize("name", MODELS)
def test_models_score_as_they_did(name: str) -> None:
    expected = json.loads((FILES / "scores.json").read_text())[name]
    model = PatchCore.load(MODELS[name])
    for image, score in expected.items():
        path = FILES / "images" / image
        # The features of another processor differ in their last bits.
        found = model.predict_single(path, path.parent.name).score
        assert found == pytest.approx(score, rel=1e-5), image


def test_thresholds_and_stations_are_kept() -> None:
    model = PatchCore.load(MODELS["federated_shared"])
    assert model.categories == ("pipe_clip", "tank_screw")
    assert model.thresholds["pipe_clip"]["value"] == pytest.approx(3.706009864807129)
    assert set(model.stations) == {"station-0", "station-1", "station-2"}
    assert PatchCore.load(MODELS["centralized_percentile_no_threshold"]).thresholds == {}


def test_run_folders_make_a_report(tmp_path: Path) -> None:
    runs = {run.method: run for run in find_runs([FILES / "runs"])}
    assert set(runs) == {"federated_iid", "centralized", "local"}
    page = write_report([FILES / "runs"], tmp_path)
    assert "federated_iid" in page.read_text(encoding="utf-8")
    metrics = load_metrics(FILES / "runs" / "centralized")
    assert set(metrics["centralized"]) == {"pipe_clip", "tank_screw"}


@pytest.mark.parametrize("name", MODELS)
def test_commands_take_a_model(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(["show", str(MODELS[name])]) == 0
    model, image = tmp_path / "model", FILES / "images" / "pipe_clip" / "good.png"
    shutil.copytree(MODELS[name], model)
    words = ["inspect", str(model), str(image), "--category", "pipe_clip", "--scores-only"]
    assert run([*words, "--out", str(tmp_path / "out")]) == 0
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    expected = json.loads((FILES / "scores.json").read_text())[name]["pipe_clip/good.png"]
    assert written[0]["score"] == pytest.approx(expected, rel=1e-5)


def test_a_station_file(tmp_path: Path) -> None:
    """Refused in one line that says what to do; with the two lines added it is read as before."""
    old = (FILES / "station.toml").read_text(encoding="utf-8")
    path = FILES / "station.toml"
    with pytest.raises(InputError, match=r"server\.certificate is missing.*fedpatchcore keys DIR"):
        read_station_file(path)
    path = tmp_path / "station.toml"
    path.write_text(old + 'certificate = "station.pem"\napp-key = "app.pub"\n', encoding="utf-8")
    station = read_station_file(path)
    assert (station.station, station.address) == ("clip-inspection", ("gateway", 9443))
    assert (station.device, station.batch_size, station.cache_limit_gb) == ("cpu", 8, 20)
    assert station.weights == str(tmp_path / "wide_resnet50_2.pth")
