"""A federated run with each family of backbones, to the end, and its model judges on alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_grid import Finished
from sklearn.metrics import roc_auc_score

from common.data.layout import index_data
from common.patchcore import PatchCore

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

Run = Callable[..., Finished]
RANDOM = {"weights": "random", "layers": "auto"}
FAMILIES: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {"weights": "imagenet", "layers": "auto"},
    "timm/convnext_tiny": RANDOM,
    "timm/vit_small_patch14_dinov2": {
        **RANDOM,
        "neighborhood_size": 1,
        "feature_norm": "l2",
        "image_score": "top-1",
    },
    "timm/vit_small_patch16_dinov3": {**RANDOM, "layers": "blocks.5,blocks.9"},
}


@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_run_ends_and_its_model_judges_as_the_stations_did(
    run: Run, parts: Path, backbone: str
) -> None:
    done = run(backbone=backbone, **FAMILIES[backbone])
    assert done.error is None
    assert {station["status"] for station in done.stations.values()} == {"used"}
    space = done.run["feature_space"]
    assert space["backbone"] == backbone
    assert space["feature_norm"] == FAMILIES[backbone].get("feature_norm", "none")
    model = PatchCore.load(done.folder, device="cpu")
    test = index_data(parts).select("test")
    for category, told in done.metrics.items():
        own = [sample for sample in test if sample.category == category]
        found = model.predict([sample.path for sample in own])
        labels = [sample.label for sample in own]
        scores = [prediction.score for prediction in found]
        assert told["classification"]["auc_roc"] == pytest.approx(
            roc_auc_score(labels, scores), abs=1e-12
        )
