"""`FeatureExtractor`: images in, patch features out, by a frozen torchvision trunk."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from common.config import Settings
from common.errors import InputError
from common.patchcore.feature_space import FeatureSpace
from common.patchcore.weights import Weights, load_weights


class FeatureExtractor:
    """Frozen ResNet, cut after the last layer used, that gives locally averaged patch features.

    Parameters
    ----------
    settings : Settings
        `backbone`, `layers`, `neighborhood_size`, `image_size`, `precision`, `device`.
    weights : Weights
        See `load_weights`.

    Attributes
    ----------
    space : FeatureSpace
    feature_dim : int
        Numbers per patch: 1536 for WideResNet-50-2 with layer2 and layer3.
    device : torch.device

    Notes
    -----
    Every layer used is averaged over `neighborhood_size` x `neighborhood_size` patches (stride 1,
    zero padding counted, as the paper's unfold has it), deeper layers are brought to the first
    layer's grid bilinearly, and all are concatenated.

    Batch normalization is folded into the convolutions and the memory order is channels-last; the
    features agree with the plain network to about 1e-5 relative.

    References
    ----------
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, section 3.1.
    """

    def __init__(self, settings: Settings, weights: Weights) -> None:
        self.space = FeatureSpace(
            backbone=settings.backbone,
            layers=settings.layer_names,
            neighborhood_size=settings.neighborhood_size,
            image_size=settings.image_size,
            precision=settings.precision,
            weights=weights.label,
            weights_sha256=weights.sha256,
        )
        self.device = choose_device(settings.device)
        self._stages = _build_trunk(self.space, weights).to(self.device)
        with torch.inference_mode():
            self.feature_dim = self(torch.zeros(1, 3, 64, 64)).shape[-1]

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Load the weights that the settings name (`auto` must have been resolved before)."""
        weights = load_weights(
            settings.backbone, settings.layer_names, settings.weights, settings.seed
        )
        return cls(settings, weights)

    def __call__(self, batch: torch.Tensor) -> NDArray[np.float32]:
        """Compute patch features of a batch of equally large images.

        Parameters
        ----------
        batch : tensor of shape (b, 3, h, w), float32
            ImageNet-normalized.

        Returns
        -------
        array of shape (b, rows, columns, d), float32
            The grid of `space.patch_grid`.

        Notes
        -----
        On CPU the bits of a feature depend on the number of threads and images in one call
        (different convolution kernels); `extract_features` therefore runs one image and one
        thread per call, and as many calls side by side as there are cores.
        """
        x = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        low_precision = self.space.precision == "bfloat16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=low_precision),
        ):
            features = torch.cat(list(self._layers(x)), dim=1)
        return features.permute(0, 2, 3, 1).contiguous().float().cpu().numpy()

    def _layers(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Averaged features of each layer used, on the first one's grid."""
        size, grid = self.space.neighborhood_size, None
        for name, stage in self._stages.items():
            x = stage(x)
            if name in self.space.layers:
                averaged = F.avg_pool2d(x, size, stride=1, padding=size // 2)
                if grid is None:
                    grid = averaged.shape[-2:]
                elif averaged.shape[-2:] != grid:
                    averaged = F.interpolate(
                        averaged, size=grid, mode="bilinear", align_corners=False
                    )
                yield averaged.float()


def choose_device(name: str) -> torch.device:
    """Turn the setting `device` into a device that is there.

    Raises
    ------
    InputError
        If a CUDA device is asked for by name that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    found = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= found:
        raise InputError(
            f"setting device: {name!r} asked for, but torch finds {found} CUDA devices"
        )
    return device


def _build_trunk(space: FeatureSpace, weights: Weights) -> nn.ModuleDict:
    """Stem and layers up to the last one used, with batch normalization folded in."""
    with torch.device("meta"):
        whole = getattr(torchvision.models, space.backbone)(weights=None)
    last = int(space.layers[-1].removeprefix("layer"))
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
    }
    stages.update({f"layer{n}": getattr(whole, f"layer{n}") for n in range(1, last + 1)})
    trunk = nn.ModuleDict(stages).to_empty(device="cpu")
    named = {
        name.replace("stem.0", "conv1").replace("stem.1", "bn1"): tensor
        for name, tensor in trunk.state_dict(keep_vars=True).items()
    }
    with torch.no_grad():
        for name, tensor in named.items():
            tensor.copy_(weights.state[name]) if name in weights.state else tensor.zero_()
    trunk.eval().requires_grad_(False)
    _fold_batch_norm(trunk)
    return trunk.to(memory_format=torch.channels_last)


def _fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalization into the convolution before it, in place."""
    children = list(module.named_children())
    if isinstance(module, nn.Sequential):
        pairs = [
            (a, b)
            for (a, x), (b, y) in pairwise(children)
            if isinstance(x, nn.Conv2d) and isinstance(y, nn.BatchNorm2d)
        ]
    else:
        names = dict(children)
        pairs = [
            (name, name.replace("conv", "bn"))
            for name in names
            if name.startswith("conv") and name.replace("conv", "bn") in names
        ]
    for conv, norm in pairs:
        fused = fuse_conv_bn_eval(getattr(module, conv), copy.deepcopy(getattr(module, norm)))
        setattr(module, conv, fused)
        setattr(module, norm, nn.Identity())
    for _, child in module.named_children():
        _fold_batch_norm(child)
