"""The distance of patches: of a feature space that is there, and of one that is planned."""

from __future__ import annotations

import pytest

from common.config import Settings
from common.patchcore.grid import planned_stride, stride_of
from common.patchcore.network.feature_space import FeatureSpace


@pytest.mark.parametrize("image_size", [0, 256])
@pytest.mark.parametrize(
    ("layers", "stride"), [("layer1,layer2", 4), ("layer2,layer3", 8), ("layer3", 16)]
)
def test_the_planned_stride_is_that_of_the_space(layers: str, stride: int, image_size: int) -> None:
    settings = Settings(backbone="resnet18", layers=layers, image_size=image_size)
    space = FeatureSpace(
        "resnet18", settings.layer_names, 3, image_size, "float32", "imagenet", "ab"
    )
    assert planned_stride(settings) == stride_of(space) == stride
