"""`FeatureExtractor`: images in, patch features out, by a frozen network."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import pairwise
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from common.config import Settings
from common.errors import InputError
from common.patchcore.exact.device import (
    DeviceFailed,
    DeviceUnfit,
    accelerator,
    by_cpu,
    failure,
    guarded,
)
from common.patchcore.exact.device_proof import trusted
from common.patchcore.exact.onednn import convolutions
from common.patchcore.network.architecture import Architecture
from common.patchcore.network.architectures import find_backbone
from common.patchcore.network.choice import settle_network
from common.patchcore.network.cpu_trunk import CpuTrunk
from common.patchcore.network.device_trial import find_difference, trial_image
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.network.resnet import FAMILY as RESNET
from common.patchcore.network.weights import Weights, load_weights

#: Counted up whenever a mended trunk gives features of other bits: what is cached is then stale.
TRUNK_VERSION: Final = 1
_CPU: Final = torch.device("cpu")

Run = Callable[[torch.Tensor], Iterator[tuple[str, torch.Tensor]]]
"""From images to each stage's name and output."""


class FeatureExtractor:
    """Frozen network, cut after the last layer used, that gives locally averaged patch features.

    Parameters
    ----------
    settings : Settings
        `backbone`, `layers`, `neighborhood_size`, `feature_norm`, `image_size`, `precision`,
        `device`.
    weights : Weights
        See `load_weights`.

    Attributes
    ----------
    space : FeatureSpace
    feature_dim : int
        Numbers per patch: 1536 for WideResNet-50-2 with layer2 and layer3.
    device : torch.device
        Where features are computed; the CPU from `leave_device` on.
    left : str
        Why another device was left; empty if none was.

    Notes
    -----
    A device other than the CPU is proved with the first image: it must choose, find and compute a
    trial's rows and features as the CPU does (`trusted`, `find_difference`).

    Every layer used is averaged over `neighborhood_size` x `neighborhood_size` patches (stride 1,
    zero padding counted, as the paper's unfold has it), deeper layers are brought to the first
    layer's grid bilinearly, and all are concatenated. With `feature_norm` `l2` each patch's numbers
    are then divided by their Euclidean norm, so that distances depend on the angle alone.

    Batch normalization is folded into the convolutions where the architecture lets it and the
    memory order is channels-last; on a CPU a ResNet's convolutions are fused ones and Winograd's
    (see `cpu_trunk`). In float32 the features
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
        architecture = find_backbone(settings.backbone)
        self.space = _space(architecture, settings, weights)
        self.device = choose_device(settings.device)
        self._dtype = getattr(torch, settings.precision)
        self._fused = convolutions(self._dtype) if architecture.family == RESNET else None
        self.left = ""
        self._trunk = _build_trunk(architecture, self.space.layers, weights)
        self.feature_dim = architecture.feature_dim(self.space.layers)
        self._accelerator = accelerator(self.device)
        self._run: Run | None = self._on_cpu() if self._accelerator is None else None

    @property
    def weight_bytes(self) -> int:
        """What the weights take in memory, once."""
        tensors = self._trunk.state_dict().values()
        return sum(one.numel() * one.element_size() for one in tensors)

    @property
    def computed_by(self) -> str:
        """What computes the features, for people: `cuda:0`, `cpu`, or `cpu (cuda:0 failed ...)`."""
        return f"cpu ({self.left})" if self.left else str(self.device)

    @property
    def producer(self) -> str:
        """Names what computes the features, down to their bits: caches keep producers apart."""
        kind = "cpu-modules" if self._fused is None else "cpu-fused"
        if self._accelerator is not None:
            kind = f"{self._accelerator.type}-modules"
        number_format = {"float32": "f32", "bfloat16": "bf16"}[self.space.precision]
        return f"{kind}-{number_format}-v{TRUNK_VERSION}"

    def prove(self) -> str:
        """Try the device now rather than with the first image; return `computed_by` after that."""
        if self._accelerator is not None:
            try:
                self(trial_image())
            except DeviceUnfit as error:
                self.leave_device(error)
        return self.computed_by

    def rest(self) -> None:
        """Free what computing takes beside the weights; the next image takes it again."""
        if isinstance(self._run, CpuTrunk):
            self._run.rest()

    def leave_device(self, error: DeviceUnfit) -> None:
        """Compute by the CPU from now on, and say so."""
        if self._accelerator is None:
            return
        by_cpu("features", self._accelerator, error)
        self.left = str(error)
        self.device, self._accelerator, self._run = _CPU, None, self._on_cpu()
        with suppress(RuntimeError):  # a device that failed may not even let go
            torch.cuda.empty_cache()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Load the weights that the settings name; `settle_network` says what `auto` means."""
        settings, _ = settle_network(settings, may_fall_back=True)
        layers = find_backbone(settings.backbone).used(settings.layers)
        weights = load_weights(settings.backbone, layers, settings.weights, settings.seed)
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

        Raises
        ------
        DeviceUnfit
            If the device is not the CPU and cannot do it, see `leave_device`.

        Notes
        -----
        On CPU the images go through one by one, so that a feature's bits do not depend on its
        neighbours. They do depend on the number of threads in one call (other convolution
        kernels); `FeatureSource` therefore runs one thread a call, and as many calls side by side
        as there are cores.
        """
        device = self._accelerator
        if device is None:
            return self._features(self._run or self._on_cpu(), batch.split(1))
        with guarded(device):
            if self._run is None:
                self._run = self._on_device(device)
            return self._features(self._run, [batch.to(device)])

    def _on_cpu(self) -> Run:
        if self._fused is not None:
            return CpuTrunk(self._trunk, self._dtype, self._fused)
        return functools.partial(self._run_modules, self._trunk)

    def _on_device(self, device: torch.device) -> Run:
        """Bring the network onto a device that shows that it computes as the CPU does."""
        if trusted(device) is None:
            raise DeviceFailed(failure(device))
        run = functools.partial(self._run_modules, copy.deepcopy(self._trunk).to(device))
        wrong = find_difference(
            lambda image: self._features(run, [image.to(device)]),
            lambda image: self._features(self._on_cpu(), [image]),
            self.space.precision,
        )
        if wrong is not None:
            raise DeviceFailed(f"{device} failed: {wrong}")
        return run

    def _features(self, run: Run, portions: Sequence[torch.Tensor]) -> NDArray[np.float32]:
        """Features of images that go through the network portion by portion."""
        on_gpu = portions[0].device.type == "cuda"
        with torch.inference_mode(), full_precision() if on_gpu else nullcontext():
            joined = [
                torch.cat(
                    list(self._layers(run, x.contiguous(memory_format=torch.channels_last))), 1
                )
                for x in portions
            ]
            features = joined[0] if len(joined) == 1 else torch.cat(joined)
            if self.space.feature_norm == "l2":
                features = F.normalize(features, dim=1)
        return _on_host(features.permute(0, 2, 3, 1).contiguous())

    def _layers(self, run: Run, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Averaged features of each layer used, on the first one's grid."""
        size, grid = self.space.neighborhood_size, None
        for name, output in run(x):
            if name in self.space.layers:
                averaged = F.avg_pool2d(output.float(), size, stride=1, padding=size // 2)
                if grid is None:
                    grid = averaged.shape[-2:]
                elif averaged.shape[-2:] != grid:
                    averaged = F.interpolate(
                        averaged, size=grid, mode="bilinear", align_corners=False
                    )
                yield averaged

    def _run_modules(self, trunk: nn.Module, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each stage's name and output by torch's own modules."""
        low_precision = self._dtype == torch.bfloat16
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low_precision):
            yield from trunk(x)


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
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = accelerator(name) or _CPU
    found = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= found:
        raise InputError(
            f"setting device: {name!r} asked for, but torch finds {found} CUDA devices"
        )
    return device


def _space(architecture: Architecture, settings: Settings, weights: Weights) -> FeatureSpace:
    layers = architecture.used(settings.layers)
    return FeatureSpace(
        backbone=settings.backbone,
        layers=layers,
        neighborhood_size=settings.neighborhood_size,
        image_size=settings.image_size,
        precision=settings.precision,
        weights=weights.label,
        weights_sha256=weights.sha256,
        feature_norm=settings.feature_norm,
        family=architecture.family,
        stride=architecture.strides[layers[0]],
        multiple=architecture.multiple(layers),
        normalization=architecture.normalization,
    )


def _build_trunk(
    architecture: Architecture, layers: tuple[str, ...], weights: Weights
) -> nn.Module:
    """The network up to the last layer used, with batch normalization folded in where it may be."""
    trunk, filled = architecture.build(layers), {}
    for name, tensor in trunk.state_dict().items():
        known = weights.state.get(architecture.in_file(name))
        filled[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
        if known is not None:
            filled[name].copy_(known)
    # Not `to_empty`: for that torch imports its symbolic shapes, which takes a second.
    trunk.load_state_dict(filled, assign=True)
    trunk.eval().requires_grad_(False)
    if architecture.folds:
        _fold_batch_norm(trunk)
    return trunk.to(memory_format=torch.channels_last)


def _fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalization into the convolution right before it, in place."""
    for (first, conv), (second, norm) in pairwise(list(module.named_children())):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, fuse_conv_bn_eval(conv, copy.deepcopy(norm)))
            setattr(module, second, nn.Identity())
    for child in module.children():
        _fold_batch_norm(child)


def _on_host(features: torch.Tensor) -> NDArray[np.float32]:
    """Bring features to the processor; from a GPU into pinned memory, thirty times as fast.

    torch keeps pinned blocks that were freed for the next batch.
    """
    if not features.is_cuda:
        return features.cpu().numpy()
    host = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
    return host.copy_(features).numpy()
