"""A small extractor with seeded random weights, loaded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.config import Settings
from common.patchcore.network.backbone import FeatureExtractor

SMALL = Settings(backbone="resnet18", weights="random", device="cpu", num_workers=2)


@pytest.fixture(scope="session")
def small() -> Settings:
    """Settings of a ResNet-18 with random weights on the CPU."""
    return SMALL


@pytest.fixture(scope="session")
def extractor() -> FeatureExtractor:
    """That ResNet-18."""
    return FeatureExtractor.from_settings(SMALL)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six PNG files of noise, the fourth of another size: 40 x 56 and 33 x 47 (height x width)."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    paths = []
    for number in range(6):
        size = (33, 47) if number == 3 else (40, 56)
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths
