"""Where the frozen backbone's weights come from: ImageNet, a local file, or a seed."""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from common.errors import InputError, MissingWeightsError, RunError
from common.patchcore.network.architectures import find_backbone
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
        By their names in the published files, float32.
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
        See `find_backbone`.
    layers : tuple of str
        Layers used; tensors beyond the last of them are neither needed nor read.
    source : {"imagenet", "random"} or path
        `imagenet`: as published, from where the backbone's family has them. A path: a state dict
        with the published names, `.safetensors`, or `.pth` (read with `weights_only=True`), as it
        is or as a checkpoint keeps it (under `state_dict`, behind `module.`).
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
        For `auto`, which `settle_network` turns into one of the others.
    """
    if source == "auto":
        raise ValueError("weights 'auto' are settled by settle_network before they are loaded")
    expected = expected_shapes(backbone, layers)
    if source == "random":
        state, label = random_state(expected, seed), f"random (seed {seed})"
    elif source == "imagenet":
        published = published_file(backbone)
        if published is None:
            raise MissingWeightsError(missing_published(backbone))
        state, label = _read(published, backbone, expected), "imagenet"
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


def published_file(backbone: str) -> Path | None:
    """Place of the published weights on this machine; None if they are not there."""
    path = find_backbone(backbone).weights.path()
    return path if path is not None and path.is_file() else None


def missing_published(backbone: str) -> str:
    """Say which file to put where."""
    return (
        f"no ImageNet weights for {backbone}: {find_backbone(backbone).weights.advice()}, or name "
        "a local file with weights=PATH (weights=random only tries the plumbing)"
    )


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
    # Imported here: no message of a run downloads anything.
    from common.data.fetch.download import download
    from common.data.fetch.transfer import Patience

    published = find_backbone(backbone).weights
    path = published.path()
    if published_file(backbone) is not None:
        return True
    if path is None or not published.url:
        return False
    patience = Patience(stall=min(_STALL_SECONDS, deadline), total=deadline, tries=2, pause=0.1)
    with contextlib.suppress(InputError, RunError, OSError):
        download(published.url, path, sha256=path.stem.rpartition("-")[2], patience=patience)
    # A few seconds' part is not worth a stray file in a folder that other programs share.
    beside(path, ".partial").unlink(missing_ok=True)
    return path.is_file()


def expected_shapes(backbone: str, layers: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors up to the last layer used, in the network's order."""
    architecture = find_backbone(backbone)
    return {
        architecture.in_file(name): tuple(tensor.shape)
        for name, tensor in architecture.build(layers).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def random_state(shapes: dict[str, tuple[int, ...]], seed: int) -> State:
    """He-normal convolutions and identity normalization.

    Drawn by numpy, whose streams are the same on every machine, so that stations with the same
    seed have the same feature space.

    References
    ----------
    He et al., "Delving Deep into Rectifiers", ICCV 2015, section 2.2 (fan-out form).
    """
    rng = np.random.default_rng(seed)
    state: State = {}
    for name, shape in shapes.items():
        if len(shape) >= 2:
            values = rng.standard_normal(shape, dtype=np.float32) * np.float32(_scale(shape))
        else:
            one = name.endswith(("running_var", "weight", "gamma"))
            values = np.full(shape, float(one), dtype=np.float32)
        state[name] = torch.from_numpy(values)
    return state


def _scale(shape: tuple[int, ...]) -> float:
    """Standard deviation that keeps the size of what passes through a tensor of that shape."""
    if len(shape) == 4:
        # Of a convolution within each channel alone, one channel sees each output.
        seen_by = 1 if shape[1] == 1 else shape[0]
        return float(np.sqrt(2.0 / (seen_by * shape[2] * shape[3])))
    if len(shape) == 2:
        return float(np.sqrt(1.0 / shape[1]))
    return 0.02  # positions and tokens, as transformers draw them


def _read(path: Path, backbone: str, expected: dict[str, tuple[int, ...]]) -> State:
    loaded = read_tensors(path, expected)
    # A deeper network's file holds all that a shallower one needs (ResNet-34 and 18), and more.
    architecture = find_backbone(backbone)
    known = expected_shapes(backbone, tuple(architecture.channels))
    for name in loaded:
        counter = str(name).endswith("num_batches_tracked")
        if name not in known and not counter and architecture.of_another(str(name)):
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
