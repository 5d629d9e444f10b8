"""What the program has to know of a backbone: its layers, its input, its weights' place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.config import refused
from common.data.normalization import IMAGENET, Normalization

if TYPE_CHECKING:
    import torch
    from torch import nn

AUTO: Final = "auto"
"""As `layers`: the backbone's own choice."""
STEM: Final = "stem"
"""Stage before the layers."""


@dataclass(frozen=True)
class Published:
    """Where the published weights of a backbone are.

    Attributes
    ----------
    path : callable -> Path or None
        Place of the file on this machine, there or not yet; None if nothing knows a place.
    advice : callable -> str
        What to do where the file is missing.
    url : str
        Where it can be fetched from, if it can; the file's name then carries the start of its
        sha256.
    """

    path: Callable[[], Path | None]
    advice: Callable[[], str]
    url: str = ""


@dataclass(frozen=True)
class Architecture:
    """A network that patch features can be taken from, without weights.

    Attributes
    ----------
    name : str
        As in the run config.
    family : str
        Networks of one family are built, cut and normalized in one way.
    channels : mapping of str to int
        Layers that can be used, shallow to deep, and the numbers a patch that each gives.
    strides : mapping of str to int
        Pixels of the network's input from one patch to the next.
    default_layers : tuple of str
        What `layers = "auto"` stands for.
    build : callable (layers) -> module
        Makes the network up to the last of the layers, whose values say nothing yet. Called with
        images (b, 3, h, w) it yields the name and output (b, c, rows, columns) of its stages, of
        the layers at least, shallow to deep.
    weights : Published
    in_file : callable (str) -> str
        Name that a tensor of the built network has in published weight files.
    of_another : callable (str) -> bool
        Whether a tensor of that name in a weight file means that it is another network's.
    multiple : callable (layers) -> int
        Sides of the network's input are multiples of so many pixels.
    normalization : Normalization
        Of its input, as it was trained.
    folds : bool
        Whether each of its batch normalizations stands right behind a convolution and may be
        folded into it.
    """

    name: str
    family: str
    channels: Mapping[str, int]
    strides: Mapping[str, int]
    default_layers: tuple[str, ...]
    build: Callable[[tuple[str, ...]], nn.Module]
    weights: Published
    in_file: Callable[[str], str]
    of_another: Callable[[str], bool]
    multiple: Callable[[tuple[str, ...]], int] = lambda layers: 1
    normalization: Normalization = IMAGENET
    folds: bool = True

    def used(self, layers: str) -> tuple[str, ...]:
        """Names of the layers that a setting `layers` means.

        Parameters
        ----------
        layers : str
            `auto`, or names with commas between them.

        Returns
        -------
        tuple of str
            Shallow to deep.

        Raises
        ------
        InputError
            On a name that the backbone does not have, one twice, or another order.
        """
        if layers.strip() == AUTO:
            return self.default_layers
        names = tuple(part.strip() for part in layers.split(",") if part.strip())
        if not names or names != tuple(layer for layer in self.channels if layer in names):
            example = ",".join(self.default_layers)
            raise refused(
                "layers",
                layers,
                f"some of {', '.join(self.channels)}, from shallow to deep, as {example}, or auto, "
                f"with {self.name}",
            )
        return names

    def feature_dim(self, layers: tuple[str, ...]) -> int:
        """Numbers per patch: the channels of all layers used."""
        return sum(self.channels[layer] for layer in layers)


def stages_of(parts: Mapping[str, nn.Module]) -> nn.Module:
    """A network of stages one after another that yields each one's name and output.

    Parameters
    ----------
    parts : mapping of str to module
        In order; tensors keep their names behind the stage's.
    """
    from torch import nn

    class Stages(nn.ModuleDict):
        def forward(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
            for name, stage in self.items():
                x = stage(x)
                yield name, x

    return Stages(dict(parts))


def unfilled() -> AbstractContextManager[object]:
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
