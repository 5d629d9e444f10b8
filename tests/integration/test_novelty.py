"""New normal parts at one station: the next federated run knows them at every station."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from local_grid import Finished, run_local, small_settings
from PIL import Image
from station_folders import real_nodes

from common.cli.main import run
from common.patchcore import PatchCore

pytestmark = pytest.mark.usefixtures("flower_task")


def draw(path: Path, seed: int, spotted: bool = False) -> Path:
    """A grey part with grain; the spotted variant is as good, and looks like nothing before it."""
    rng = np.random.default_rng(seed)
    grey = 110 + rng.normal(0, 3, (48, 72))
    if spotted:
        rows, columns = np.mgrid[:48, :72]
        grey += 90 * ((rows // 4 + columns // 4) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB").save(path)
    return path


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two stations with ten good plates each, six of them held out, and four to be tested."""
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    for place, name in enumerate(("north", "south")):
        folder = tmp_path / "plant" / name / "plate"
        for number in range(10):
            draw(folder / f"train/good/{number:03d}.png", 100 * place + number)
        for number in range(4):
            draw(folder / f"test/good/{number:03d}.png", 100 * place + 50 + number)
    return tmp_path / "plant"


def federate(plant: Path) -> Finished:
    # South says that its new parts are good. Otherwise the few that are held out, three of twelve,
    # would lie beyond the fence, be named, and set no threshold.
    settings = small_settings(
        *(plant / "unused", plant / "unused"),
        local_coreset_ratio=1.0,
        calibration_fraction=0.6,
        audit_good="off",
    )
    done = run_local(settings, nodes=real_nodes(plant), folder=plant.parent / "runs")
    assert done.error is None
    return done


def test_what_one_station_learnt_the_next_run_brings_to_all(plant: Path, plain_files: None) -> None:
    first = federate(plant)
    fresh = [draw(plant.parent / f"fresh/{n}.png", 900 + n, spotted=True) for n in range(3)]
    before = PatchCore.load(first.folder)
    limit = before.thresholds["plate"]["value"]
    novel = [one.score for one in before.predict(fresh, "plate")]
    assert min(novel) > 2 * limit

    # South has begun to make the spotted variant, and puts good ones among its training images:
    # the first of them by name go into the bank, the last ones are held out with the others.
    for number in range(6):
        draw(plant / f"south/plate/train/good/00{number}-spotted.png", 800 + number, spotted=True)
    second = federate(plant)
    # What was there before is in the stations' caches. One image more than the new ones: it is now
    # held out, and judged in another number format than it was kept in for the bank.
    assert second.extracted == 6 + 1
    chosen = {name: c["rows_chosen"] for name, c in second.contributions.items()}
    earlier = {name: c["rows_chosen"] for name, c in first.contributions.items()}
    assert chosen["south"] > earlier["south"]

    # North never saw one; with the new bank it judges them, and its own parts, as good.
    after = PatchCore.load(second.folder)
    limit = after.thresholds["plate"]["value"]
    known = [one.score for one in after.predict(fresh, "plate")]
    assert max(known) <= limit < min(novel)
    own = sorted((plant / "north/plate/test/good").glob("*.png"))
    assert all(one.score <= limit for one in after.predict(own, "plate"))
    assert after.stations["north"].thresholds["plate"]["held_out_images"] == 6


def test_drift_is_told_for_the_station_that_has_it(
    plant: Path, plain_files: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Good parts of the day that look otherwise than the calibration's, at one of two stations."""
    for number in range(20):
        draw(plant / f"south/plate/test/good/1{number:02d}.png", 700 + number, spotted=True)
        draw(plant / f"north/plate/test/good/1{number:02d}.png", 600 + number)
    done = federate(plant)
    stations = done.metrics["plate"]["threshold"]["stations"]
    assert stations["south"]["drift"]["verdict"] == "refit"
    assert stations["south"]["drift_calibration"] == "own"
    assert stations["south"]["false_alarms"] >= 20
    # Six held-out images cannot tell that nothing has changed.
    assert stations["north"]["drift"]["verdict"] == "unclear"
    assert (stations["north"]["good_images"], stations["north"]["held_out_images"]) == (24, 6)
    told = [n for n in done.run["notices"] if "against its own held-out ones" in n]
    assert [notice.split(",")[0] for notice in told] == ["plate at south"]
    saved = done.model["stations"]
    assert set(saved) == {"north", "south"}
    assert len(saved["north"]["calibration"]["plate"]) == 6
    merged = saved["north"]["calibration"]["plate"] + saved["south"]["calibration"]["plate"]
    assert sorted(merged) == done.model["calibration"]["plate"]
    assert done.model["coreset_projection"] == {"components": 16, "seed": 42}

    # And at the station itself: its own threshold, its own calibration.
    capsys.readouterr()
    assert run(["show", str(done.folder)]) == 0
    own = saved["south"]["thresholds"]["plate"]
    text = capsys.readouterr().out
    assert f"{own['value']:.4g}, promises 14.3% from 6 images" in text
    out = plant.parent / "check"
    arguments = ["evaluate", str(done.folder), str(plant / "south"), "--out", str(out)]
    assert run([*arguments, "--station", "sough"]) == 2
    assert "it knows: north, south" in capsys.readouterr().err
    for station in ([], ["--station", "south"]):
        assert run([*arguments, *station]) == 0
        (path,) = out.glob("evaluation/metrics/*/plate/metrics.json")
        threshold = json.loads(path.read_text())["threshold"]
        notices = json.loads((out / "run.json").read_text())["notices"]
        chosen = own if station else done.model["thresholds"]["plate"]
        assert threshold["value"] == chosen["value"]
        assert threshold["held_out_images"] == (6 if station else 12)
        assert threshold["drift"]["verdict"] == "refit"
        assert any("the threshold is south's own" in notice for notice in notices) == bool(station)
    image = plant / "south/plate/test/good/000.png"
    arguments = ["inspect", str(done.folder), str(image), "--out", str(plant.parent / "judged")]
    assert run([*arguments, "--station", "south"]) == 0
    (entry,) = json.loads((plant.parent / "judged/results.json").read_text())
    assert (entry["threshold"], entry["category"]) == (own["value"], "plate")
