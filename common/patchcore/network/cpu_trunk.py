"""The trunk on a CPU: torch's own fused convolutions, and Winograd's where they save products.

The fused ones are oneDNN's (`exact/onednn.py`). The 3x3 convolutions of stride 1, two thirds of all
products, go through `winograd` in float32.

One image a call: the kernels that oneDNN chooses depend on the shapes, and so would the bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.hooks.lookup import find
from common.hooks.table import CODE_CONTEXT
from common.patchcore.exact.onednn import Convolutions
from common.patchcore.network.architecture import STEM

Step = Callable[[torch.Tensor], torch.Tensor]

#: Winograd pays from this many 4x4 tiles on; with fewer, its larger filters cost more to fetch.
_FEWEST_TILES = 16
#: Floats of one portion of transformed patches: with the products it stays in the cache.
_PORTION = 36 << 15
#: Portions are multiples of so many tiles: however many image sizes there are, portions are few.
_STEP = 4
#: Image sizes whose weights are kept in order.
_MOST_SIZES = 4
_ONE, _NO_PADDING = [1, 1], [0, 0]


class CpuTrunk:
    """Stem and layers, for one image at a time.

    Parameters
    ----------
    stages : ModuleDict
        Stem and layers of a torchvision ResNet, batch normalization folded, channels-last,
        float32.
    dtype : torch.dtype
        float32 or bfloat16: of weights and activations.
    fused : Convolutions
        Of that format.
    """

    def __init__(self, stages: nn.Module, dtype: torch.dtype, fused: Convolutions) -> None:
        assert isinstance(stages, nn.ModuleDict)
        self.dtype = dtype
        first, pool = (stages[STEM].get_submodule(name) for name in ("conv1", "maxpool"))
        self._stages: dict[str, list[Step]] = {STEM: [_Convolution(first, dtype, fused), pool]}
        for name, layer in stages.items():
            if name != STEM:
                self._stages[name] = [_Block(block, dtype, fused) for block in layer.children()]

    def rest(self) -> None:
        """Drop reordered weights and Winograd's filters: several times the weights themselves."""
        for steps in self._stages.values():
            for step in steps:
                if isinstance(step, (_Block, _Convolution)):
                    step.rest()

    def __call__(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each stage's name and output of a channels-last image (1, 3, h, w)."""
        x = x.to(self.dtype)
        for name, steps in self._stages.items():
            for step in steps:
                x = step(x)
            yield name, x


class _Block:
    """A residual block, bottleneck or basic: convolutions, the last of them with the residual."""

    def __init__(self, block: nn.Module, dtype: torch.dtype, fused: Convolutions) -> None:
        names = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
        self.convolutions = [_Convolution(getattr(block, name), dtype, fused) for name in names]
        self.shortcut = None
        if block.downsample is not None:
            self.shortcut = _Convolution(
                block.get_submodule("downsample.0"), dtype, fused, relu=False
            )

    def rest(self) -> None:
        for convolution in (*self.convolutions, self.shortcut):
            if convolution is not None:
                convolution.rest()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        residual = x if self.shortcut is None else self.shortcut(x)
        for convolution in self.convolutions[:-1]:
            x = convolution(x)
        return self.convolutions[-1](x, residual)


class _Convolution:
    """A convolution with bias, a residual and ReLU, whichever way is faster for the image."""

    def __init__(
        self, module: nn.Module, dtype: torch.dtype, fused: Convolutions, relu: bool = True
    ) -> None:
        assert isinstance(module, nn.Conv2d)
        assert module.bias is not None  # batch normalization was folded into it
        self.fused = fused
        self.stride, self.padding = list(module.stride), list(module.padding)
        self.after = "relu" if relu else "none"
        out, into, *kernel = module.weight.shape
        self.winograd = None
        if (
            (kernel, self.stride, self.padding) == ([3, 3], _ONE, _ONE)
            and dtype == torch.float32
            and relu
            and out % 16 == into % 16 == 0
            and find(CODE_CONTEXT) is not None
        ):
            self.winograd = _Winograd(module.weight, module.bias, fused)
        self.plain = module.weight.to(dtype)
        self.weights: dict[torch.Size, torch.Tensor] = {}
        self.bias = module.bias.to(dtype)

    def rest(self) -> None:
        self.weights = {}
        if self.winograd is not None:
            self.winograd.rest()

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        if self.winograd is not None and self.winograd.pays(x):
            return self.winograd(x, residual)
        shape = (self.padding, self.stride, _ONE, 1)
        weight = self._weight(x.shape)
        if residual is None:
            return self.fused.convolve(x, weight, self.bias, *shape, self.after, [], "")
        return self.fused.convolve(
            x, residual, weight, self.bias, *shape, "add", 1.0, self.after, [], ""
        )

    def _weight(self, size: torch.Size) -> torch.Tensor:
        """Return the weights in the order that suits the image size; another costs dearly."""
        known = self.weights.get(size)
        if known is None:
            known = self.fused.order(self.plain, self.padding, self.stride, _ONE, 1, list(size))
            if len(self.weights) >= _MOST_SIZES:
                self.weights = {}
            self.weights[size] = known
        return known


class _Winograd:
    """A 3x3 convolution of stride 1 with ReLU by Winograd's F(4x4, 3x3)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, fused: Convolutions) -> None:
        self.weight, self.fused = weight, fused
        self.bias = bias.numpy()
        self.filters: dict[int, torch.Tensor] = {}
        self.layouts: dict[bytes, torch.Tensor] = {}
        self.lock = threading.Lock()
        self.spaces = threading.local()

    def rest(self) -> None:
        with self.lock:
            self.filters, self.layouts = {}, {}

    def pays(self, x: torch.Tensor) -> bool:
        return -(-x.shape[2] // 4) * -(-x.shape[3] // 4) >= _FEWEST_TILES

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        # Imported here: compiling takes seconds (once per machine).
        from common.patchcore.network.winograd import tile_count, transform_input, transform_output

        n_out, n_in = self.weight.shape[:2]
        image = _as_array(x)
        height, width = image.shape[:2]
        out = torch.empty((1, n_out, height, width), memory_format=torch.channels_last)
        target = _as_array(out)
        added = target if residual is None else _as_array(residual)
        tiles = tile_count(height, width)
        portions = -(-tiles // max(_STEP, _PORTION // (36 * max(n_in, n_out))))
        portion = -(-tiles // (portions * _STEP)) * _STEP
        patches, view = self._space(portion, n_in)
        filters = self._filters(portion)
        for first in range(0, tiles, portion):
            last = min(first + portion, tiles)
            transform_input(image, first, last, view)
            products = self.fused.convolve(
                patches, filters, None, _NO_PADDING, _ONE, _ONE, 36, "none", [], ""
            )
            moved = products.permute(0, 2, 3, 1).view(portion, 36, n_out).numpy()
            transform_output(moved, first, last, self.bias, added, residual is not None, target)
        return out

    def _space(self, portion: int, channels: int) -> tuple[torch.Tensor, NDArray[np.float32]]:
        """Transformed patches: this thread's memory, used again and again."""
        known = getattr(self.spaces, "patches", None)
        if known is None or known.shape[2] != portion:
            shape = (1, 36 * channels, portion, 1)
            known = torch.zeros(shape).contiguous(memory_format=torch.channels_last)
            self.spaces.patches = known
        return known, known.permute(0, 2, 3, 1).view(portion, 36, channels).numpy()

    def _filters(self, portion: int) -> torch.Tensor:
        """Filters in Winograd's space, in the order that suits the portion, made when first used.

        Four times the plain ones, so portions that are served by one order share it; filters in
        another order would be brought into the right one again for every product.
        """
        with self.lock:
            known = self.filters.get(portion)
            if known is None:
                from common.patchcore.network.winograd import transform_filter

                n_out, n_in = self.weight.shape[:2]
                moved = torch.from_numpy(transform_filter(self.weight.numpy()))
                known = self.fused.order(
                    moved.view(36 * n_out, n_in, 1, 1),
                    _NO_PADDING,
                    _ONE,
                    _ONE,
                    36,
                    [1, 36 * n_in, portion, 1],
                )
                if self.fused.layout is not None:
                    layout = self.fused.layout(known).numpy().tobytes()
                    known = self.layouts.setdefault(layout, known)
                self.filters[portion] = known
        return known


def _as_array(x: torch.Tensor) -> NDArray[np.float32]:
    """View one channels-last image as an array (h, w, c)."""
    array: NDArray[np.float32] = x.permute(0, 2, 3, 1)[0].numpy()
    return array
