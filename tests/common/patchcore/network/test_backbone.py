"""Patch features are those of the plain torchvision network, averaged as the paper has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional as F

from common.config import Settings
from common.errors import InputError
from common.patchcore.network.architectures import find_backbone
from common.patchcore.network.backbone import FeatureExtractor, choose_device, full_precision
from common.patchcore.network.weights import State, Weights, _digest


def noisy(backbone: str) -> State:
    """Weights whose batch normalizations are not the identity."""
    torch.manual_seed(0)
    state = getattr(torchvision.models, backbone)(weights=None).state_dict()
    for name, tensor in state.items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
            tensor.uniform_(0.5, 1.5)
    return state


def plain_features(state: State, settings: Settings, batch: torch.Tensor) -> np.ndarray:
    """Slow twin: the whole network with hooks; the local average by unfold, as in the paper."""
    model = getattr(torchvision.models, settings.backbone)(weights=None)
    model.load_state_dict(state)
    model.eval()
    outputs: list[torch.Tensor] = []
    for name in find_backbone(settings.backbone).used(settings.layers):
        getattr(model, name).register_forward_hook(lambda m, i, output: outputs.append(output))
    with torch.no_grad():
        model(batch)
    size = settings.neighborhood_size
    averaged = []
    for output in outputs:
        b, c, h, w = output.shape
        patches = F.unfold(output, size, padding=size // 2).reshape(b, c, size * size, h, w)
        averaged.append(patches.mean(dim=2))
    grid = averaged[0].shape[-2:]
    brought = [F.interpolate(a, size=grid, mode="bilinear", align_corners=False) for a in averaged]
    return torch.cat(brought, dim=1).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("backbone", "layers", "size"),
    [
        ("resnet18", "layer2,layer3", 3),
        ("resnet18", "layer1,layer2,layer4", 5),
        ("resnet34", "layer3", 1),
        ("resnet50", "layer2,layer3", 3),
        ("wide_resnet50_2", "layer2,layer3", 3),
    ],
)
def test_features_are_those_of_the_plain_network(backbone: str, layers: str, size: int) -> None:
    settings = Settings(backbone=backbone, layers=layers, neighborhood_size=size, device="cpu")
    state = noisy(backbone)
    extractor = FeatureExtractor(settings, Weights(state, "noisy", _digest(state)))
    batch = torch.randn(2, 3, 50, 70, generator=torch.Generator().manual_seed(1))
    found, wanted = extractor(batch), plain_features(state, settings, batch)
    assert (
        found.shape == wanted.shape == (2, *extractor.space.patch_grid((50, 70)), wanted.shape[-1])
    )
    assert extractor.feature_dim == wanted.shape[-1]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    distances = np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert distances.max() < 1e-4


@pytest.mark.parametrize("backbone", ["resnet18", "wide_resnet50_2"])
def test_features_of_larger_images_are_those_of_the_plain_network(backbone: str) -> None:
    # Large enough that every convolution goes the way it goes in production.
    settings = Settings(backbone=backbone, device="cpu")
    state = noisy(backbone)
    extractor = FeatureExtractor(settings, Weights(state, "noisy", _digest(state)))
    batch = torch.randn(1, 3, 250, 280, generator=torch.Generator().manual_seed(1))
    found, wanted = extractor(batch), plain_features(state, settings, batch)
    distances = np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert distances.max() < 1e-4


def test_images_of_a_batch_change_no_bit_of_each_other(extractor: FeatureExtractor) -> None:
    batch = torch.randn(3, 3, 70, 90, generator=torch.Generator().manual_seed(1))
    together = extractor(batch)
    for image, features in zip(batch, together, strict=True):
        np.testing.assert_array_equal(extractor(image[None])[0], features)


def test_the_default_has_1536_numbers_a_patch() -> None:
    settings = Settings(weights="random", device="cpu")
    assert FeatureExtractor.from_settings(settings).feature_dim == 1536


def test_the_same_settings_give_the_same_network(
    small: Settings, extractor: FeatureExtractor
) -> None:
    batch = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    again = FeatureExtractor.from_settings(small)
    assert again.space == extractor.space
    np.testing.assert_array_equal(again(batch), extractor(batch))
    other = FeatureExtractor.from_settings(small.with_(seed=1))
    assert other.space.fingerprint != extractor.space.fingerprint
    assert not np.array_equal(other(batch), extractor(batch))


def test_bfloat16_is_another_feature_space_and_near(
    small: Settings, extractor: FeatureExtractor
) -> None:
    low = FeatureExtractor.from_settings(small.with_(precision="bfloat16"))
    assert low.space.fingerprint != extractor.space.fingerprint
    batch = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    one, two = extractor(batch), low(batch)
    assert two.dtype == np.float32
    assert not np.array_equal(one, two)
    assert np.abs(one - two).max() < 0.05 * np.abs(one).max()


def test_layers_and_neighborhood_change_the_features(
    small: Settings, extractor: FeatureExtractor
) -> None:
    batch = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    wide = FeatureExtractor.from_settings(small.with_(neighborhood_size=5))(batch)
    assert wide.shape == extractor(batch).shape
    assert not np.allclose(wide, extractor(batch))
    alone = FeatureExtractor.from_settings(small.with_(layers="layer2"))(batch)
    np.testing.assert_allclose(alone, extractor(batch)[..., :128], rtol=1e-5, atol=1e-5)


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(InputError, match=f"'{absent}' asked for, but torch finds"):
        choose_device(absent)


def test_convolutions_are_not_shortened_while_the_network_runs() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.enabled
    with full_precision():
        assert (cudnn.allow_tf32, cudnn.deterministic, cudnn.enabled) == (False, True, before[2])
    assert (cudnn.allow_tf32, cudnn.deterministic, cudnn.enabled) == before
