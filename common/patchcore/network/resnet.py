"""torchvision's ResNets as backbones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from common.patchcore.network.architecture import STEM, Architecture, Published, stages_of, unfilled

if TYPE_CHECKING:
    from torch import nn

FAMILY: Final = "resnet"
LAYERS: Final = ("layer1", "layer2", "layer3", "layer4")
_WIDTHS: Final = (64, 128, 256, 512)


def resnet(name: str, file: str, *, bottleneck: bool) -> Architecture:
    """One of torchvision's ResNets, by its name there.

    Parameters
    ----------
    name : str
    file : str
        Of the weights IMAGENET1K_V1.
    bottleneck : bool
        Whether its blocks give four times their inner width.
    """

    def build(layers: tuple[str, ...]) -> nn.Module:
        import torch
        from torch import nn

        from common.data._torchvision import torchvision

        with torch.device("meta"), unfilled():
            whole = getattr(torchvision.models, name)(weights=None)
        stem = nn.Sequential()
        for part in ("conv1", "bn1", "relu", "maxpool"):
            stem.add_module(part, getattr(whole, part))
        used = LAYERS[: LAYERS.index(layers[-1]) + 1]
        return stages_of({STEM: stem, **{layer: getattr(whole, layer) for layer in used}})

    def of_another(tensor: str) -> bool:
        return tensor.partition(".")[0] in LAYERS

    wider = 4 if bottleneck else 1
    return Architecture(
        name=name,
        family=FAMILY,
        channels={layer: wider * width for layer, width in zip(LAYERS, _WIDTHS, strict=True)},
        # The stem quarters, and every layer after the first halves, rounding up.
        strides={layer: 4 << place for place, layer in enumerate(LAYERS)},
        default_layers=("layer2", "layer3"),
        build=build,
        weights=_published(file),
        in_file=lambda tensor: tensor.removeprefix(f"{STEM}."),
        of_another=of_another,
    )


def _published(file: str) -> Published:
    """Torchvision's own file, in its cache."""

    def path() -> Path:
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / file

    return Published(
        path=path,
        advice=lambda: f"put torchvision's file {file} at {path()}",
        url=f"https://download.pytorch.org/models/{file}",
    )
