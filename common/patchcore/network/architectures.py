"""The backbones that can be chosen: how each network is made, and where its weights are published.

A new family is one function that makes its networks, and one line a network in `BACKBONES`.
Importing this imports no torch: commands check a name against the table before they need it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import nn

STEM: Final = "stem"
LAYERS: Final = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Architecture:
    """A network that patch features can be taken from, without weights.

    Attributes
    ----------
    stages : callable -> dict of name to module
        Makes the network on the meta device: `STEM`, then the layers whose outputs can be used, in
        order. A stage's tensors have the names of the published file, but for the prefix `stem.`.
    weights_url : callable -> str
        Where the ImageNet weights lie; the file's name carries the start of its sha256.
    layers : tuple of str
        Names of the layers, shallow to deep.
    """

    stages: Callable[[], dict[str, nn.Module]]
    weights_url: Callable[[], str]
    layers: tuple[str, ...] = LAYERS


def _unfilled() -> AbstractContextManager[object]:
    """Leave out the drawing of values, of which the meta device keeps none.

    There it would bring torch's compiler along, which takes longer to import than torch does.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
                return args[0]
            return func(*args, **(kwargs or {}))

    return Unfilled()


def resnet(name: str) -> Architecture:
    """One of torchvision's ResNets, by its name there."""

    def stages() -> dict[str, nn.Module]:
        import torch
        from torch import nn

        from common.data._torchvision import torchvision

        with torch.device("meta"), _unfilled():
            whole = getattr(torchvision.models, name)(weights=None)
        stem = nn.Sequential()
        for part in ("conv1", "bn1", "relu", "maxpool"):
            stem.add_module(part, getattr(whole, part))
        return {STEM: stem, **{layer: getattr(whole, layer) for layer in LAYERS}}

    def weights_url() -> str:
        from common.data._torchvision import torchvision

        return str(torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url)

    return Architecture(stages, weights_url)


BACKBONES: Final[dict[str, Architecture]] = {
    "wide_resnet50_2": resnet("wide_resnet50_2"),
    "resnet18": resnet("resnet18"),
    "resnet34": resnet("resnet34"),
    "resnet50": resnet("resnet50"),
    "resnet101": resnet("resnet101"),
}
"""Name in the run config -> architecture."""


def stages_up_to(backbone: str, last: str) -> dict[str, nn.Module]:
    """Stem and layers of a backbone up to the last one used, on the meta device."""
    stages = BACKBONES[backbone].stages()
    names = list(stages)
    return {name: stages[name] for name in names[: names.index(last) + 1]}


def published(name: str) -> str:
    """Name that a tensor of the stages has in published weight files."""
    return name.removeprefix(f"{STEM}.")
