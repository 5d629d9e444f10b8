"""Models of a few rows, made in no time, for tests of versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.patchcore.model_store import SavedModel
from common.patchcore.network.feature_space import FeatureSpace

SPACE = FeatureSpace(
    backbone="resnet18",
    weights="random, seed 1",
    weights_sha256="0" * 64,
    layers=("layer2", "layer3"),
    neighborhood_size=3,
    feature_norm="none",
    image_size=0,
    precision="float32",
)


def small_model(seed: int, **changes: Any) -> SavedModel:
    """Four rows of eight numbers; every seed gives another model."""
    rows = np.random.default_rng(seed).normal(size=(4, 8)).astype(np.float16)
    facts = {"categories": ("plate",), "provenance": {"made": seed}, **changes}
    return SavedModel(banks={"plate": rows}, space=SPACE, **facts)


def rows_of(folder: Path) -> np.ndarray:
    """The rows of a stored model, which must load."""
    return SavedModel.load(folder).banks["plate"]


def station_toml(folder: Path, more: str = "", station: str = "mill") -> Path:
    """A station file; its models folder is `models` in its cache."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "station.toml"
    path.write_text(
        f'station = "{station}"\ndata-root = "data"\ncache-dir = "cache"\n{more}\n[server]\n'
        'address = "gateway:9443"\nca = "ca.crt"\nkey = "station.key"\n'
        'certificate = "station.pem"\napp-key = "app.pub"\n'
    )
    return path
