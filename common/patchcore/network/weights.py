"""Where the frozen backbone's weights come from: ImageNet, a local file, or a seed."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from common.errors import InputError, MissingWeightsError
from common.patchcore.network.architectures import BACKBONES, published, stages_up_to
from common.patchcore.network.weight_files import read_tensors
from common.paths import beside

State = dict[str, torch.Tensor]

_STALL_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Weights:
    """Tensors of the backbone up to the last layer used.

    Attributes
    ----------
    state : dict of str to tensor
        torchvision's names, float32.
    label : str
        What people call them: `imagenet`, `random (seed 42)` or the file's name.
    sha256 : str
        Over names, shapes and values of `state`, so that a full weight file and one cut after
        the last layer used agree.
    """

    state: State
    label: str
    sha256: str

    @property
    def random(self) -> bool:
        """True for seeded random weights, whose quality says nothing about the method."""
        return random_seed(self.label) is not None


def load_weights(backbone: str, layers: tuple[str, ...], source: str, seed: int) -> Weights:
    """Load the tensors that a feature extractor needs; downloads nothing.

    Parameters
    ----------
    backbone : str
        A name in `BACKBONES`.
    layers : tuple of str
        Layers used; tensors beyond the last of them are neither needed nor read.
    source : {"imagenet", "random"} or path
        `imagenet`: from torchvision's cache. A path: a torchvision state dict, `.safetensors`, or
        `.pth` (read with `weights_only=True`), as it is or as a checkpoint keeps it (under
        `state_dict`, behind `module.`).
    seed : int
        For `random`.

    Returns
    -------
    Weights

    Raises
    ------
    InputError
        If the file is missing, unreadable, or not this backbone's.
    ValueError
        For `auto`, which `resolve_auto` turns into one of the others.
    """
    if source == "auto":
        raise ValueError("weights 'auto' are resolved by resolve_auto before they are loaded")
    expected = expected_shapes(backbone, layers)
    if source == "random":
        state, label = random_state(expected, seed), f"random (seed {seed})"
    elif source == "imagenet":
        path = imagenet_file(backbone)
        if not path.is_file():
            raise MissingWeightsError(missing_imagenet(backbone))
        state, label = _read(path, backbone, expected), "imagenet"
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            raise MissingWeightsError(
                f"weights {source!r}: no such file; expected auto, imagenet, random, or the path "
                "of a .safetensors or .pth file"
            )
        state, label = _read(path, backbone, expected), path.name
    return Weights(state, label, _digest(state))


def random_seed(label: str) -> int | None:
    """Seed of random weights from their label; None for all others."""
    found = re.fullmatch(r"random \(seed (\d+)\)", label)
    return int(found[1]) if found else None


def resolve_auto(backbone: str, synthetic: bool) -> tuple[str, str | None]:
    """What `weights = "auto"` means here and now, without a download.

    Returns
    -------
    (source, notice)
        `imagenet` if its file is in torchvision's cache, else `random` on synthetic data only.

    Raises
    ------
    InputError
        On real data without ImageNet weights: random ones must be asked for by name.
    """
    if imagenet_file(backbone).is_file():
        return "imagenet", None
    if synthetic:
        return "random", (
            f"no ImageNet weights for {backbone} on this machine: seeded RANDOM weights are used, "
            "on synthetic data only; the figures say nothing about PatchCore's quality"
        )
    raise MissingWeightsError(missing_imagenet(backbone))


def missing_imagenet(backbone: str) -> str:
    """Say which file to put where."""
    path = imagenet_file(backbone)
    return (
        f"no ImageNet weights for {backbone}: put torchvision's file {path.name} at {path}, or "
        "name a local file with weights=PATH (weights=random only tries the plumbing)"
    )


def imagenet_file(backbone: str) -> Path:
    """Place of the published weights in torchvision's cache."""
    url = BACKBONES[backbone].weights_url()
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name


def fetch_imagenet(backbone: str, deadline: float) -> bool:
    """Try to bring the published weights into torchvision's cache, within a deadline.

    Parameters
    ----------
    backbone : str
    deadline : float
        Seconds in all. A server that stops answering is given up after 10 s at the latest.

    Returns
    -------
    bool
        True if the file is there now, whole: its name carries the start of its sha256.
    """
    path, until = imagenet_file(backbone), time.monotonic() + deadline
    if path.is_file():
        return True
    partial = beside(path, f".{os.getpid()}.partial")
    url, digest = BACKBONES[backbone].weights_url(), hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        timeout = min(_STALL_SECONDS, deadline)
        with (
            urllib.request.urlopen(url, timeout=timeout) as answer,
            partial.open("wb") as file,
        ):
            while chunk := answer.read1(1 << 20):
                digest.update(chunk)
                file.write(chunk)
                if time.monotonic() > until:
                    return False
        if not digest.hexdigest().startswith(path.stem.rpartition("-")[2]):
            return False
        partial.replace(path)
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        partial.unlink(missing_ok=True)


def expected_shapes(backbone: str, layers: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors up to the last layer used, in the network's order."""
    return {
        published(f"{stage}.{name}"): tuple(tensor.shape)
        for stage, module in stages_up_to(backbone, layers[-1]).items()
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def random_state(shapes: dict[str, tuple[int, ...]], seed: int) -> State:
    """He-normal convolutions and identity batch normalization.

    Drawn by numpy, whose streams are the same on every machine, so that stations with the same
    seed have the same feature space.

    References
    ----------
    He et al., "Delving Deep into Rectifiers", ICCV 2015, section 2.2 (fan-out form).
    """
    rng = np.random.default_rng(seed)
    state: State = {}
    for name, shape in shapes.items():
        if len(shape) == 4:
            scale = np.float32(np.sqrt(2.0 / (shape[0] * shape[2] * shape[3])))
            values = rng.standard_normal(shape, dtype=np.float32) * scale
        else:
            one = name.endswith(("running_var", "weight"))
            values = np.full(shape, float(one), dtype=np.float32)
        state[name] = torch.from_numpy(values)
    return state


def _read(path: Path, backbone: str, expected: dict[str, tuple[int, ...]]) -> State:
    loaded = read_tensors(path, expected)
    # A deeper network's file holds all that a shallower one needs (ResNet-34 and 18), and more.
    architecture = BACKBONES[backbone]
    known = expected_shapes(backbone, architecture.layers)
    for name in loaded:
        stage, counter = str(name).partition(".")[0], str(name).endswith("num_batches_tracked")
        if stage in architecture.layers and name not in known and not counter:
            raise InputError(
                f"{path}: tensor {name!r} is none of {backbone}'s; is it another backbone's file?"
            )
    state: State = {}
    for name, shape in expected.items():
        tensor = loaded.get(name)
        if not isinstance(tensor, torch.Tensor):
            raise InputError(
                f"{path}: {backbone}'s tensor {name!r} is missing; is it another backbone's file?"
            )
        if tuple(tensor.shape) != shape:
            raise InputError(
                f"{path}: tensor {name!r} has shape {tuple(tensor.shape)}, {backbone} expects "
                f"{shape}; is it another backbone's file?"
            )
        state[name] = tensor.detach().to(torch.float32).contiguous()
        if not bool(torch.isfinite(state[name]).all()):
            raise InputError(f"{path}: tensor {name!r} holds a value that is not finite")
    return state


def _digest(state: State) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name}{tuple(state[name].shape)}".encode())
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()
