"""Whatever the image score: threshold, inspection, growth and evaluation go by the same one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from common.cli.main import run
from common.config import Settings
from common.data.layout import index_data
from common.inspection.new_images import fresh_images, judge_new
from common.patchcore import PatchCore
from common.runs.baseline import run_baseline

FEW = Settings(
    backbone="resnet18", weights="random", global_bank_size=60, num_workers=1, num_stations=1,
    calibration_fraction=0.3, device="cpu",
)  # fmt: skip


@pytest.mark.parametrize("score", ["top-5", "reweighted"])
def test_every_command_goes_by_the_score_of_the_model(
    parts: Path, tmp_path: Path, score: str
) -> None:
    index = index_data(parts)
    settings = replace(FEW, image_score=score, data_root=str(parts))
    record = run_baseline(settings, index, tmp_path / "run").record
    model = PatchCore.load(tmp_path / "run")
    assert model.settings.image_score == score
    # Threshold: the held-out images' scores, by the model as it was saved.
    training = [sample.path for sample in index.select("train")]
    held_out = sorted(one.score for one in model.predict(training[-4:], "plate"))
    assert model.calibration["plate"] == held_out
    # Evaluation, whose records are in order of label and score.
    test = index.select("test")
    wanted = [one.score for one in model.predict([one.path for one in test], "plate")]
    labelled = sorted(zip([one.label for one in test], wanted, strict=True))
    result = record.evaluated[0].result
    assert sorted(zip(result.image_labels, result.image_scores, strict=True)) == labelled
    # Inspection, and growth.
    out = tmp_path / "out"
    words = ["inspect", str(tmp_path / "run"), str(parts / "plate/test"), "--out", str(out)]
    assert run(words) == 0
    found = {one["path"]: one["score"] for one in json.loads((out / "results.json").read_text())}
    assert found == {str(sample.path): value for sample, value in zip(test, wanted, strict=True)}
    images = fresh_images((sample.path for sample in test), "shared", None, [])
    assert [one.score for one in judge_new(model, "plate", images)] == wanted
