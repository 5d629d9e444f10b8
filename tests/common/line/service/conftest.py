"""A small model of a drawn part, and pictures of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from inspection_cases import draw_part
from line_service import Running, running

from common.evaluation import calibrate_threshold
from common.patchcore import PatchCore
from common.runs.record import threshold_facts


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten pictures, every other with a defect."""
    root = tmp_path_factory.mktemp("pictures")
    return [draw_part(root / f"{n:03d}.png", 100 + n, defect=n % 2 == 1) for n in range(10)]


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> PatchCore:
    root = tmp_path_factory.mktemp("training")
    images = [draw_part(root / f"{n:03d}.png", n) for n in range(12)]
    model = PatchCore(backbone="resnet18", weights="random", global_bank_size=60, device="cpu")
    model.fit(images[:6], "plate")
    scores = [one.score for one in model.predict(images[6:], "plate")]
    model.thresholds = threshold_facts({"plate": calibrate_threshold(scores, 0.2)})
    model.calibration = {"plate": sorted(scores)}
    return model


@pytest.fixture(scope="session")
def saved(fitted: PatchCore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(folder)
    return folder


@pytest.fixture(scope="module")
def plain(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service without tokens that the tests of a file share."""
    with running(saved, tmp_path_factory.mktemp("line") / "journal") as one:
        yield one
