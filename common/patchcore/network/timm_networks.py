"""Any network of timm as a backbone: `timm/<name>`, where timm is installed.

timm tells of each network which stages or blocks it has, how wide they are and how many pixels lie
between their patches; what they put out, it computes itself. Weights come from its cache or a local
file, and nothing is fetched during a run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.config import refused
from common.data.normalization import Normalization
from common.errors import InputError
from common.patchcore.network.architecture import Architecture, Published

if TYPE_CHECKING:
    import torch
    from torch import nn

PREFIX: Final = "timm/"
NORM: Final = "norm"
"""Layer of a transformer: its last block behind the final normalization."""
_FILES: Final = ("model.safetensors", "pytorch_model.bin")


@functools.cache
def timm_network(backbone: str) -> Architecture:
    """Describe a network of timm.

    Parameters
    ----------
    backbone : str
        `timm/` and its name there, with or without the tag of its weights.

    Returns
    -------
    Architecture
        Its layers are the module names that timm gives for the stages of a convolutional network,
        and the blocks of a transformer; a transformer has `norm` beside these. Convolutional
        networks use the stages of 8 and 16 pixels a patch unless told otherwise, transformers
        `norm`.

    Raises
    ------
    InputError
        Without timm, for a name that it does not know, and for a network that gives no stages or
        takes images of one size alone.
    """
    import torch

    name = backbone.removeprefix(PREFIX)
    timm = _timm(backbone)
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.partition('.')[0]}*")[:3]
        hint = f"; it has {', '.join(near)}" if near else ""
        raise refused("backbone", backbone, f"a network that timm {timm.__version__} knows{hint}")
    with torch.device("meta"):
        model = _create(name)
    info = {str(stage["module"]): stage for stage in _feature_info(model, backbone)}
    strides = {layer: int(stage["reduction"]) for layer, stage in info.items()}
    channels = {layer: int(stage["num_chs"]) for layer, stage in info.items()}
    places = {layer: place for place, layer in enumerate(info)}
    flat = len(set(strides.values())) == 1
    if flat and isinstance(getattr(model, NORM, None), torch.nn.Module):
        last = list(info)[-1]
        channels[NORM], strides[NORM], places[NORM] = channels[last], strides[last], places[last]
        default: tuple[str, ...] = (NORM,)
    else:
        default = tuple(layer for layer, stride in strides.items() if stride in (8, 16))
    pretrained = model.pretrained_cfg
    known = {f"model.{tensor}" for tensor in model.state_dict()}

    def build(layers: tuple[str, ...]) -> nn.Module:
        return _trunk(name, {layer: places[layer] for layer in layers})

    return Architecture(
        name=backbone,
        family="timm",
        channels=channels,
        strides=strides,
        default_layers=default or tuple(info)[-1:],
        build=build,
        weights=_published(name, pretrained),
        in_file=lambda tensor: tensor.removeprefix("model."),
        of_another=lambda tensor: f"model.{tensor}" not in known,
        # Whole patches: what is left over at the edges would have none, or one of another size.
        multiple=lambda layers: max(strides[layer] for layer in layers),
        normalization=Normalization(tuple(pretrained["mean"]), tuple(pretrained["std"])),
        folds=False,
    )


def _timm(backbone: str) -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(
            f"setting backbone: {backbone!r} needs timm, which is not installed here ({error}); "
            "install it with `pip install 'fedpatchcore[timm]'`, at every station and the server"
        ) from error
    return timm


def _create(name: str) -> Any:
    """Make a network whose input may have any size, with values of its own making."""
    import timm

    try:
        return timm.create_model(name, pretrained=False, dynamic_img_size=True)
    except TypeError:  # only transformers know that word
        model: Any = timm.create_model(name, pretrained=False)
    if model.pretrained_cfg.get("fixed_input_size"):
        raise InputError(
            f"setting backbone: {PREFIX}{name} takes images of one size alone; expected a "
            "convolutional network, or a transformer that timm can give any size, as "
            f"{PREFIX}vit_small_patch14_dinov2"
        )
    return model


def _feature_info(model: Any, backbone: str) -> Any:
    if not callable(getattr(model, "forward_intermediates", None)):
        raise InputError(
            f"setting backbone: {backbone} gives the output of no inner stage; expected a network "
            "of timm that has forward_intermediates"
        )
    return model.feature_info


def _trunk(name: str, layers: dict[str, int]) -> nn.Module:
    """The network up to the last of the layers, which are given with timm's own numbers."""
    from torch import nn

    order = sorted(set(layers.values()))

    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model: Any = _create(name)
            self.model.prune_intermediate_layers(
                order, prune_norm=NORM not in layers, prune_head=True
            )

        def forward(self, x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
            outputs = self.model.forward_intermediates(
                x, indices=order, stop_early=True, output_fmt="NCHW", intermediates_only=True
            )
            found = dict(zip(order, outputs, strict=True))
            for layer, place in layers.items():
                yield (
                    layer,
                    found[place] if layer != NORM else _by_patch(self.model.norm, found[place]),
                )

    return Trunk()


def _by_patch(norm: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Normalize every patch of (b, c, rows, columns) by itself, as the transformer would."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _published(name: str, pretrained: Mapping[str, Any]) -> Published:
    """A weight file in the cache that timm downloads to."""
    repository, address = pretrained.get("hf_hub_id"), pretrained.get("url")

    def path() -> Path | None:
        import torch
        from huggingface_hub import try_to_load_from_cache

        for file in _FILES if repository else ():
            found = try_to_load_from_cache(str(repository), file)
            if isinstance(found, str):
                return Path(found)
        if not address:
            return None
        return Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]

    def advice() -> str:
        call = f"import timm; timm.create_model('{name}', pretrained=True)"
        return f'let timm fetch them where there is internet, with `python -c "{call}"`'

    return Published(path, advice)
