"""`FeatureExtractor`: images in, patch features out, by a frozen torchvision trunk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from common.config import Settings
from common.errors import InputError
from common.patchcore.exact.onednn import convolutions
from common.patchcore.network.architectures import published, stages_up_to
from common.patchcore.network.cpu_trunk import CpuTrunk
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.network.weights import Weights, load_weights


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

    Batch normalization is folded into the convolutions and the memory order is channels-last; on a
    CPU the convolutions are fused ones and Winograd's (see `_cpu_trunk`). In float32 the features
    agree with the plain network to about 1e-5 relative, on every device.

    With `precision` bfloat16, weights and activations are bfloat16, sums, averages and the features
    themselves float32. Such features differ from float32 ones by some percent, more than good and
    bad parts may differ, so they are another feature space.

    References
    ----------
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, section 3.1.

    Examples
    --------
    One patch every 8 pixels; 128 numbers of layer2 and 256 of layer3.

    >>> import torch
    >>> from common.config import Settings
    >>> from common.patchcore import FeatureExtractor
    >>> settings = Settings(backbone="resnet18", weights="random", device="cpu")
    >>> extractor = FeatureExtractor.from_settings(settings)
    >>> extractor(torch.zeros(1, 3, 64, 48)).shape, extractor.feature_dim
    ((1, 8, 6, 384), 384)
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
        self._dtype = getattr(torch, settings.precision)
        stages = _build_trunk(self.space, weights)
        self.feature_dim = sum(_channels(stages[name]) for name in self.space.layers)
        self._run: Callable[[torch.Tensor], Iterator[tuple[str, torch.Tensor]]]
        fused = convolutions(self._dtype) if self.device.type == "cpu" else None
        if fused is not None:
            self._run = CpuTrunk(stages, self._dtype, fused)
        else:
            self._stages = stages.to(self.device)
            self._run = self._run_modules

    def rest(self) -> None:
        """Free what computing takes beside the weights; the next image takes it again."""
        if isinstance(self._run, CpuTrunk):
            self._run.rest()

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
        On CPU the images go through one by one, so that a feature's bits do not depend on its
        neighbours. They do depend on the number of threads in one call (other convolution
        kernels); `FeatureSource` therefore runs one thread a call, and as many calls side by side
        as there are cores.
        """
        x = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        portions = x.split(1) if self.device.type == "cpu" else [x]
        on_gpu = self.device.type == "cuda"
        with torch.inference_mode(), full_precision() if on_gpu else nullcontext():
            joined = [torch.cat(list(self._layers(portion)), dim=1) for portion in portions]
            features = joined[0] if len(joined) == 1 else torch.cat(joined)
        return features.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def _layers(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Averaged features of each layer used, on the first one's grid."""
        size, grid = self.space.neighborhood_size, None
        for name, output in self._run(x):
            if name in self.space.layers:
                averaged = F.avg_pool2d(output.float(), size, stride=1, padding=size // 2)
                if grid is None:
                    grid = averaged.shape[-2:]
                elif averaged.shape[-2:] != grid:
                    averaged = F.interpolate(
                        averaged, size=grid, mode="bilinear", align_corners=False
                    )
                yield averaged

    def _run_modules(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each stage's name and output by torch's own modules."""
        low_precision = self._dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low_precision):
            for name, stage in self._stages.items():
                x = stage(x)
                yield name, x


@contextmanager
def full_precision() -> Iterator[None]:
    """Let a GPU compute float32 convolutions in float32, and always in the same way.

    Torch's default is TensorFloat-32, which keeps 10 bits of every factor: errors of some 1e-3, as
    large as what good and bad parts may differ by.
    """
    enabled = torch.backends.cudnn.enabled
    with torch.backends.cudnn.flags(enabled=enabled, deterministic=True, allow_tf32=False):
        yield


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


def _channels(layer: nn.Module) -> int:
    """Channels that a residual layer puts out: those of its last convolution."""
    return [module.out_channels for module in layer.modules() if isinstance(module, nn.Conv2d)][-1]


def _build_trunk(space: FeatureSpace, weights: Weights) -> nn.ModuleDict:
    """Stem and layers up to the last one used, with batch normalization folded in."""
    stages = stages_up_to(space.backbone, space.layers[-1])
    trunk = nn.ModuleDict(stages).to_empty(device="cpu")
    with torch.no_grad():
        for name, tensor in trunk.state_dict(keep_vars=True).items():
            known = weights.state.get(published(name))
            tensor.zero_() if known is None else tensor.copy_(known)
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
