"""The feature space: what makes two memory banks comparable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from common.data.transforms import IMAGENET_MEAN, IMAGENET_STD, resized
from common.errors import InputError


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
    """

    backbone: str
    layers: tuple[str, ...]
    neighborhood_size: int
    image_size: int
    precision: str
    weights: str
    weights_sha256: str

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) that two stations share exactly when their features are comparable."""
        facts = asdict(self)
        del facts["weights"]
        facts["normalization"] = [IMAGENET_MEAN, IMAGENET_STD]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def patch_grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Patches (rows, columns) of an image file of this (height, width), nothing computed."""
        height, width = resized(size, self.image_size)
        # The stem and every layer after the first halve, rounding up.
        for _ in range(1 + int(self.layers[0].removeprefix("layer"))):
            height, width = -(-height // 2), -(-width // 2)
        return height, width

    def describe(self) -> str:
        """Name the space in one line, for people."""
        size = "own image size" if self.image_size == 0 else f"shorter side {self.image_size}"
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
