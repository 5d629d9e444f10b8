"""How far apart patches are: of a feature space, and of one that is only planned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from common.config import Settings

if TYPE_CHECKING:
    from common.patchcore.network.feature_space import FeatureSpace

_SIDE: Final = 7 * 2**12
"""Pixels of an image that every stride divides."""


def stride_of(space: FeatureSpace) -> int:
    """Pixels of the network's input from one patch to the next."""
    rows, _ = replace(space, image_size=0).patch_grid((_SIDE, _SIDE))
    return _SIDE // rows


def planned_stride(settings: Settings) -> int:
    """Pixels from one patch to the next in the feature space that the settings ask for.

    No weights are looked for and no torch is imported.
    """
    return 2 << int(settings.layer_names[0].removeprefix("layer"))
