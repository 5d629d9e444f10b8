"""A small model of a plain part, fitted once for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest
from inspection_cases import draw_part

from common.evaluation import calibrate_threshold
from common.patchcore import PatchCore
from common.runs.record import threshold_facts


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MVTec-shaped, without masks: 12 training, 4 good and 4 defective images."""
    root = tmp_path_factory.mktemp("parts")
    for number in range(12):
        draw_part(root / f"data/plate/train/good/{number:03d}.png", number)
    for number in range(4):
        draw_part(root / f"data/plate/test/good/{number:03d}.png", 100 + number)
        draw_part(root / f"data/plate/test/cut/{number:03d}.png", 200 + number, defect=True)
    return root / "data"


@pytest.fixture(scope="session")
def fitted(parts: Path) -> PatchCore:
    """A model of `plate` from 6 images; 6 are held out: 1 / 7 is what they promise."""
    images = sorted((parts / "plate/train/good").glob("*.png"))
    model = PatchCore(backbone="resnet18", weights="random", global_bank_size=60, num_workers=1)
    model.fit(images[:6], "plate")
    scores = [prediction.score for prediction in model.predict(images[6:], "plate")]
    model.thresholds = threshold_facts({"plate": calibrate_threshold(scores, 0.2)})
    model.calibration = {"plate": sorted(scores)}
    return model


@pytest.fixture(scope="session")
def saved(fitted: PatchCore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder
