"""Real images: verdicts, false alarms and detections of a model with eight held-out images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.cli.main import run
from common.data.defects import load_regions
from common.data.images import read_size
from common.data.layout import index_data
from common.evaluation import calibrate_threshold
from common.patchcore import PatchCore
from common.runs.record import threshold_facts

pytestmark = pytest.mark.realdata


def test_verdicts_on_the_bottle(test_data: Path, tmp_path: Path) -> None:
    weights = test_data / "weights" / "resnet18_trunk.pth"
    index = index_data(test_data / "parts", ["bottle"])
    train = [sample.path for sample in index.select("train")]
    assert len(train) == 80
    model = PatchCore(
        backbone="resnet18", weights=str(weights), image_size=256, global_bank_size=800
    )
    model.fit(train[:72], "bottle")
    held_out = [one.score for one in model.predict(train[72:], "bottle")]
    model.thresholds = threshold_facts({"bottle": calibrate_threshold(held_out, 0.05)})
    model.calibration = {"bottle": sorted(held_out)}
    model.save(tmp_path / "model")

    images = test_data / "parts/bottle/test"
    out = tmp_path / "out"
    assert run(["inspect", str(tmp_path / "model"), str(images), "--out", str(out)]) == 0
    entries = {entry["path"]: entry for entry in json.loads((out / "results.json").read_text())}
    tested = index.select("test")
    good = [entries[str(sample.path.absolute())] for sample in tested if sample.label == 0]
    bad = [entries[str(sample.path.absolute())] for sample in tested if sample.label == 1]
    assert (len(good), len(bad)) == (20, 63)
    alarms = sum(entry["anomalous"] for entry in good)
    found = sum(entry["anomalous"] for entry in bad)
    hits = 0
    for sample in tested:
        if sample.label:
            size = read_size(sample.path)
            regions = load_regions(sample, index.categories["bottle"], size)
            worst = entries[str(sample.path.absolute())]["regions"][0]
            near = (slice(max(0, worst["peak_row"] - 8), worst["peak_row"] + 9),
                    slice(max(0, worst["peak_column"] - 8), worst["peak_column"] + 9))  # fmt: skip
            hits += any(np.any(region.mask[near]) for region in regions or [])
    print(
        f"bottle: threshold {good[0]['threshold']:.4f} from 8 images (promises 1/9), "
        f"{alarms} of 20 false alarms, {found} of 63 defects found, "
        f"{hits} of 63 peaks within 8 pixels of the defect"
    )
    # 1 / 9 is promised: more than 8 of 20 happen once in some hundred draws of the held-out images.
    assert alarms <= 8
    assert found >= 60
    assert hits >= 57
