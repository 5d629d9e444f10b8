"""The feature space: what makes two memory banks comparable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from common.data.normalization import IMAGENET, Normalization
from common.data.transforms import Preparation
from common.errors import InputError
from common.patchcore.network.resnet import FAMILY as RESNET
from common.patchcore.network.resnet import LAYERS


@dataclass(frozen=True)
class FeatureSpace:
    """Backbone, weights and preprocessing.

    Attributes
    ----------
    backbone, layers, neighborhood_size, image_size, precision
        As in the settings.
    weights : str
        What people call the weights; not part of the fingerprint.
    weights_sha256 : str
        Over the tensors of the layers used.
    feature_norm : str
        As in the settings.
    family : str
        Of the backbone, see `Architecture`.
    stride : int
        Pixels of the network's input from one patch to the next; 0: as a ResNet's first layer.
    multiple : int
        Sides of the network's input are multiples of so many pixels.
    normalization : Normalization
        Of the network's input.
    """

    backbone: str
    layers: tuple[str, ...]
    neighborhood_size: int
    image_size: int
    precision: str
    weights: str
    weights_sha256: str
    feature_norm: str = "none"
    family: str = RESNET
    stride: int = 0
    multiple: int = 1
    normalization: Normalization = IMAGENET

    def __post_init__(self) -> None:
        if self.stride == 0 and self.layers and self.layers[0] in LAYERS:
            object.__setattr__(self, "stride", 4 << LAYERS.index(self.layers[0]))
        if self.stride < 1 or self.multiple < 1:
            raise InputError(
                f"feature space: {self.layers} with stride {self.stride} and multiple "
                f"{self.multiple}; expected layers of a known backbone and whole numbers from 1 on"
            )

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) that two stations share exactly when their features are comparable."""
        facts = asdict(self)
        del facts["weights"]
        # What the first version had no other choice of stays out where that choice was made: the
        # banks made then keep their feature space.
        for name, default in (("feature_norm", "none"), ("family", RESNET), ("multiple", 1)):
            if facts[name] == default:
                del facts[name]
        if self.family == RESNET:
            del facts["stride"]  # follows from the layers
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def patch_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Patches (rows, columns) of an image file of this (height, width), nothing computed."""
        height, width = self.preparation.seen(size)
        return -(-height // self.stride), -(-width // self.stride)

    @property
    def preparation(self) -> Preparation:
        """How an image becomes the network's input."""
        return Preparation(self.image_size, self.multiple, self.normalization)

    def describe(self) -> str:
        """Name the space in one line, for people."""
        size = "own image size" if self.image_size == 0 else f"shorter side {self.image_size}"
        if self.multiple > 1:
            size += f" to multiples of {self.multiple}"
        if self.feature_norm != "none":
            size += f", {self.feature_norm} norm"
        return (
            f"{self.backbone} {'+'.join(self.layers)}, "
            f"{self.neighborhood_size}x{self.neighborhood_size} average, {size}, {self.precision}, "
            f"weights {self.weights} [{self.fingerprint[:12]}]"
        )

    def to_json(self) -> dict[str, Any]:
        """All facts and the fingerprint."""
        return {**asdict(self), "layers": list(self.layers), "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> FeatureSpace:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            If a fact is missing or the fingerprint is not that of the facts.
        """
        try:
            space = cls(
                backbone=str(facts["backbone"]),
                layers=tuple(str(layer) for layer in facts["layers"]),
                neighborhood_size=int(facts["neighborhood_size"]),
                image_size=int(facts["image_size"]),
                precision=str(facts["precision"]),
                weights=str(facts["weights"]),
                weights_sha256=str(facts["weights_sha256"]),
                **_later(facts),
            )
            stated = facts["fingerprint"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"feature space: {error} is missing or unusable") from error
        if stated != space.fingerprint:
            raise InputError(
                f"feature space: fingerprint {stated} does not belong to the facts beside it "
                f"({space.fingerprint}); was the file edited?"
            )
        return space


def _later(facts: dict[str, Any]) -> dict[str, Any]:
    """What the first version's files do not say, because there was one choice."""
    mean, std = facts.get("normalization", IMAGENET)
    return {
        "feature_norm": str(facts.get("feature_norm", "none")),
        "family": str(facts.get("family", RESNET)),
        "stride": int(facts.get("stride", 0)),
        "multiple": int(facts.get("multiple", 1)),
        "normalization": Normalization(_three(mean), _three(std)),
    }


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
