"""Mean and standard deviation by which a network's input is normalized."""

from __future__ import annotations

from typing import Final, NamedTuple

Three = tuple[float, float, float]


class Normalization(NamedTuple):
    """Of the red, green and blue channel, values from 0 to 1."""

    mean: Three
    std: Three


IMAGENET: Final = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: Final = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Values from -1 to 1."""
