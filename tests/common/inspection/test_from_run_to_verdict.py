"""A run's model judges as the run did, and knows what its threshold rests on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.cli.main import run
from common.evaluation import calibrate_threshold
from common.patchcore import PatchCore
from common.patchcore.model_store import SavedModel

pytestmark = pytest.mark.usefixtures("plain_module")

SETTINGS = {
    "backbone": "resnet18",
    "weights": "random",
    "global-bank-size": "60",
    "calibration-fraction": "0.5",
    "num-stations": "1",
    "num-workers": "1",
}


@pytest.fixture(scope="module")
def finished(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPATCHCORE_CACHE", str(folder / "cache"))
        changes = [text for k, v in SETTINGS.items() for text in ("--set", f"{k}={v}")]
        arguments = ["baseline", str(parts), "--out", str(folder / "run"), *changes]
        assert run(arguments) == 0
    return folder / "run"


def test_the_model_keeps_the_scores_of_its_held_out_images(finished: Path, parts: Path) -> None:
    saved = SavedModel.load(finished)
    held_out = sorted((parts / "plate/train/good").glob("*.png"))[6:]
    scores = sorted(one.score for one in PatchCore.load(finished).predict(held_out, "plate"))
    assert saved.calibration == {"plate": scores}
    threshold = calibrate_threshold(scores, 0.05)
    assert threshold is not None
    assert saved.thresholds["plate"]["value"] == threshold.value == scores[-1]


def test_verdicts_agree_with_the_rates_that_the_run_reports(
    finished: Path, parts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(["inspect", str(finished), str(parts / "plate/test"), "--out", str(out)]) == 0
    entries = json.loads((out / "results.json").read_text())
    path = finished / "evaluation/metrics/centralized/plate/metrics.json"
    reported = json.loads(path.read_text())["threshold"]
    share = {
        kind: sum(e["anomalous"] for e in entries if f"/{kind}/" in e["path"]) / 4
        for kind in ("good", "cut")
    }
    assert share["good"] == reported["false_alarm_rate_on_test"]
    assert share["cut"] == reported["detection_rate_on_test"] == 1.0
    assert {entry["threshold"] for entry in entries} == {reported["value"]}


def test_evaluate_compares_good_test_images_with_the_calibration(
    finished: Path, parts: Path, tmp_path: Path
) -> None:
    assert run(["evaluate", str(finished), str(parts), "--out", str(tmp_path / "check")]) == 0
    notices = json.loads((tmp_path / "check/run.json").read_text())["notices"]
    (drift,) = [notice for notice in notices if "good test images" in notice]
    assert drift.startswith("plate, good test images against the held-out ones: unknown: 4 scores")
    (promise,) = [notice for notice in notices if "too few held-out images" in notice]
    assert "plate 14.3% (up to 39% by bad luck; 6 held out)" in promise  # 1 / 7; 1 - 0.05^(1/6)
