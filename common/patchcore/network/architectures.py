"""The table of backbones: a new network is one line here, a new family one file beside it.

Importing this imports no torch: commands check a name against the table before they need it.
"""

from __future__ import annotations

from typing import Final

from common.config import Settings, refused
from common.patchcore.network.architecture import AUTO, Architecture
from common.patchcore.network.efficientnet_lite import efficientnet_lite
from common.patchcore.network.resnet import resnet
from common.patchcore.network.timm_networks import PREFIX, timm_network

DEFAULT: Final = "wide_resnet50_2"
"""What `backbone = "auto"` stands for wherever its weights are."""
FALLBACK: Final = "efficientnet_lite0"
"""What it stands for elsewhere: its weights are installed with the program."""

_LISTED: Final = (
    resnet("wide_resnet50_2", "wide_resnet50_2-95faca4d.pth", bottleneck=True),
    resnet("resnet18", "resnet18-f37072fd.pth", bottleneck=False),
    resnet("resnet34", "resnet34-b627a593.pth", bottleneck=False),
    resnet("resnet50", "resnet50-0676ba61.pth", bottleneck=True),
    resnet("resnet101", "resnet101-63fe2227.pth", bottleneck=True),
    efficientnet_lite("efficientnet_lite0", "57934424", width=1.0, depth=1.0),
    efficientnet_lite("efficientnet_lite1", "77cc7160", width=1.0, depth=1.1),
    efficientnet_lite("efficientnet_lite2", "9656183e", width=1.1, depth=1.2),
)
BACKBONES: Final[dict[str, Architecture]] = {one.name: one for one in _LISTED}
"""Name in the run config -> architecture. Beside these, `timm/<name>` is any that timm knows."""


def find_backbone(name: str) -> Architecture:
    """Look a name of the run config up.

    Parameters
    ----------
    name : str
        A key of `BACKBONES`, or `timm/` and a name that timm knows. Not `auto`.

    Returns
    -------
    Architecture

    Raises
    ------
    InputError
        If it is neither, or timm is not installed.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(PREFIX):
        return timm_network(name)
    known = ", ".join((AUTO, *BACKBONES))
    raise refused("backbone", name, f"one of {known}, or {PREFIX}NAME of a network of timm")


def planned_grid(settings: Settings) -> tuple[int, int]:
    """Stride and multiple, in pixels, of the feature space that the settings ask for.

    No weights are looked for: where `auto` leaves the choice to what is there, both of its networks
    have the same.
    """
    architecture = find_backbone(DEFAULT if settings.backbone == AUTO else settings.backbone)
    layers = architecture.used(settings.layers)
    return architecture.strides[layers[0]], architecture.multiple(layers)
