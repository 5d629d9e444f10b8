"""The centralized baseline when a part of it fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from common.config import Settings
from common.data.layout import DataIndex, index_data
from common.errors import InputError
from common.patchcore import PatchCore
from common.runs.baseline import BaselineResult, run_baseline

pytestmark = pytest.mark.usefixtures("plain_files")


@pytest.fixture
def data(index: DataIndex, tmp_path: Path) -> Path:
    """A copy of the data folder that a test may spoil."""
    return shutil.copytree(index.root, tmp_path / "data")


def baseline(data: Path, out: Path, *categories: str, **changes: Any) -> BaselineResult:
    settings = Settings(
        backbone="resnet18", weights="random", global_bank_size=40, num_workers=0, device="cpu",
        num_stations=2, partition="iid", data_root=str(data), **changes,
    )  # fmt: skip
    return run_baseline(settings, index_data(data, categories or None), out)


def spoil(data: Path, category: str, where: str) -> None:
    next((data / category / where).glob("*.png")).write_bytes(b"no picture")


def test_a_category_whose_images_cannot_be_judged_keeps_its_bank_and_one_without_leaves_nothing(
    data: Path, tmp_path: Path
) -> None:
    """A failed category used to leave its radius, and a bad test image took a whole bank away."""
    chosen: dict[str, Any] = {"bank_scope": "category", "calibration_fraction": 0.0}
    reach = {}
    for name in ("pipe_clip", "pipe_staple"):
        model = baseline(data, tmp_path / name, name, **chosen).record.model
        assert model is not None
        reach[name] = model.radius or 0.0
    near, far = sorted(reach, key=reach.__getitem__)
    assert reach[near] < reach[far]
    spoil(data, far, "test/good")
    unjudged = baseline(data, tmp_path / "unjudged", near, far, **chosen)
    spoil(data, far, "train/good")
    lost = baseline(data, tmp_path / "lost", near, far, **chosen)
    for result, out, left, status in (
        (unjudged, tmp_path / "unjudged", {near, far}, "not evaluated"),
        (lost, tmp_path / "lost", {near}, "failed"),
    ):
        assert set(result.errors) == {far}
        model = PatchCore.load(out)
        assert set(model.banks) == set(model.categories) == left
        assert model.radii == {name: reach[name] for name in left}
        run = json.loads((out / "run.json").read_text())
        assert (run["status"], run["error"]) == ("completed", None)
        assert set(run["bank"]["rows"]) == set(run["data"]["categories"]) == left
        assert run["bank"]["radius"] == max(reach[name] for name in left)
        assert len(run["unevaluated"]) == len(left) - 1
        summary = json.loads((out / "training_summary.json").read_text())
        assert {name: facts["status"] for name, facts in summary.items()} == {
            near: "completed", far: status,
        }  # fmt: skip


def test_a_shared_bank_that_cannot_be_fitted_leaves_a_failed_run(
    data: Path, tmp_path: Path
) -> None:
    spoil(data, "pipe_staple", "train/good")
    out = tmp_path / "run"
    with pytest.raises(InputError, match="pipe_staple"):
        baseline(data, out, bank_scope="shared")
    run = json.loads((out / "run.json").read_text())
    assert run["status"] == "failed"
    assert run["error"].startswith("the bank of all categories failed: ")
    assert "pipe_staple" in run["error"]
    assert run["bank"] is None
    assert not (out / "model").exists()
    assert not (out / "evaluation").exists()
    summary = json.loads((out / "training_summary.json").read_text())
    assert {name: facts["status"] for name, facts in summary.items()} == {
        "pipe_clip": "failed", "pipe_staple": "failed",
    }  # fmt: skip


def test_what_is_not_there_is_said(data: Path, tmp_path: Path) -> None:
    for folder in ("test", "ground_truth"):
        shutil.rmtree(data / "pipe_clip" / folder)
    record = baseline(data, tmp_path / "run", bank_scope="shared", calibration_fraction=0.0).record
    assert record.notices == [
        "no test image of pipe_clip: it was not evaluated",
        "no held-out good image of pipe_clip: it has no threshold",
        "no held-out good image of pipe_staple: it has no threshold",
    ]
