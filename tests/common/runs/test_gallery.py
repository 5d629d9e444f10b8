"""The best and the worst judged images of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.config import Settings
from common.data.layout import DataIndex
from common.patchcore import PatchCore
from common.runs.baseline import run_baseline
from common.runs.gallery import Case, best_and_worst

pytestmark = pytest.mark.usefixtures("plain_files")


def test_cases_are_ordered_by_their_side_of_the_threshold(index: DataIndex) -> None:
    bad = next(one for one in index.samples if one.label)
    good = next(one for one in index.samples if one.split == "test" and not one.label)
    assert Case(bad, 6.0, 3.0).margin == 2.0
    assert Case(bad, 1.5, 3.0).margin == 0.5
    assert Case(good, 1.5, 3.0).margin == 2.0
    assert Case(good, 6.0, 3.0).margin == 0.5
    assert Case(good, 6.0, 0.0).margin == 1.0


def test_the_gallery_shows_the_extremes(index: DataIndex, tmp_path: Path) -> None:
    settings = Settings(
        backbone="resnet18", weights="random", global_bank_size=60, num_workers=0, device="cpu",
        num_stations=2, data_root=str(index.root),
    )  # fmt: skip
    run_baseline(settings, index, tmp_path / "run")
    pictures = best_and_worst(tmp_path / "run", index, count=2)
    model = PatchCore.load(tmp_path / "run")
    margins = {}
    for name in index.categories:
        level = model.thresholds[name]["value"]
        for one in index.select("test", name):
            if one.label:
                score = model.predict_single(one.path, name).score
                title = f"{name}, {one.defect_type}, {one.path.name}"
                margins[title] = score / level
    best = [one["title"] for one in pictures if one["group"].startswith("Best")]
    worst = [one["title"] for one in pictures if "lowest" in one["group"]]
    assert best[0] == max(margins, key=lambda title: margins[title])
    assert worst[0] == min(margins, key=lambda title: margins[title])
    assert len(pictures) == 6
    assert np.all([one["picture"].axes for one in pictures])
