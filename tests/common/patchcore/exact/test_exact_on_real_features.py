"""Real patch features: selection and search equal the plain float64 loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from common.config import Settings
from common.data.transforms import Preparation
from common.patchcore import coreset
from common.patchcore.coreset import select_coreset
from common.patchcore.exact.kcenter import Selection
from common.patchcore.exact.projection import project, random_projection
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.inputs import as_inputs


@pytest.mark.realdata
def test_real_features_give_the_rows_of_the_float64_loop(test_data: Path) -> None:
    weights = sorted((test_data / "weights").glob("resnet18*.pth"))
    settings = Settings(backbone="resnet18", weights=str(weights[0]), image_size=256, device="cpu")
    extractor = FeatureExtractor.from_settings(settings)
    paths = sorted((test_data / "parts").glob("*/train/good/*.png"))[:7]
    blocks = [
        extractor(torch.stack([image.tensor(Preparation(256))])) for image in as_inputs(paths)
    ]
    features = np.concatenate([block.reshape(-1, block.shape[-1]) for block in blocks])

    rows = project(features[:-1024], random_projection(features.shape[1], 64, seed=0))
    for space in (rows, features[:3000]):
        plain = coreset._plain_loop(space, 300, 5, space[:0], -1.0, None)
        for threads in (1, 2):
            fast = Selection(space, 300, space[:0], -1.0, threads, pool_rows=256)
            fast.run(5, None)
            np.testing.assert_array_equal(fast.chosen, plain.indices)
            np.testing.assert_array_equal(fast.radii, plain.radii)

    bank = MemoryBank(features[select_coreset(rows, 500).indices])
    queries = np.ascontiguousarray(features[-1024:][::8])
    plain_search = bank._plain_loop(queries, 3)
    fast_search = bank._fast_search(queries, 3)
    np.testing.assert_array_equal(fast_search[0], plain_search[0])
    np.testing.assert_array_equal(fast_search[1], plain_search[1])
