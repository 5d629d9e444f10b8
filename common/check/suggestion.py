"""Settings that suit a data folder: image size, rows and ratio, from grid, images and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.check.survey import Survey
from common.config import Settings
from common.data.holdout import split_holdout
from common.patchcore.network.architectures import planned_grid

_SHARE_OF_MEMORY: Final = 0.5
"""The rest is for the network, the processes and the bank with its search."""
_WIDEST: Final = 1536
"""Numbers of an unprojected patch of the largest usual backbone."""
_BESIDE: Final = 64
"""Bytes a patch that the selection takes beside the numbers."""
_LEAST_SHARE: Final = 0.01
"""Of the patches, in the bank: the smallest coreset of the PatchCore paper."""
_LARGEST_RATIO: Final = 0.5
_STEP: Final = 32


@dataclass(frozen=True)
class Suggestion:
    """What would suit, by arithmetic alone.

    Attributes
    ----------
    image_size, global_bank_size, local_coreset_ratio
        Values for these settings. In scope `category` the rows are the total of all banks.
    images, patches : int
        Of good training images that are not held out, and their patches at that size.
    memory : int
        Bytes that choosing the rows takes where all images are in one place.
    room : int or None
        Bytes that this machine has for it and everything else, if that is known.
    """

    image_size: int
    global_bank_size: int
    local_coreset_ratio: float
    images: int
    patches: int
    memory: int
    room: int | None

    @property
    def sentence(self) -> str:
        """In plain words."""
        room = "" if self.room is None else f" of {self.room / 2**30:.1f} GB here"
        return (
            f"image-size={self.image_size} ({self.patches} patches of {self.images} training "
            f"images), global-bank-size={self.global_bank_size} "
            f"({self.global_bank_size / self.patches:.1%} of them), "
            f"local-coreset-ratio={self.local_coreset_ratio:g}; choosing the rows in one place "
            f"takes about {self.memory / 2**30:.1f} GB{room}"
        )

    def to_json(self) -> dict[str, Any]:
        """Under the settings' names, with what it rests on."""
        return {
            "image-size": self.image_size,
            "global-bank-size": self.global_bank_size,
            "local-coreset-ratio": self.local_coreset_ratio,
            "images": self.images,
            "patches": self.patches,
            "memory_bytes": self.memory,
            "available_bytes": self.room,
        }


def suggest(survey: Survey) -> Suggestion | None:
    """Work out what suits a data folder.

    Parameters
    ----------
    survey : Survey
        Its options tell the settings that are planned, and the memory there is.

    Returns
    -------
    Suggestion or None
        None without a training image that can be read. The planned image size, or the largest
        multiple of 32 below at which the patches take half of the memory; the planned rows, but at
        least 1 % of the patches and at most what the ratio gives; the planned ratio, or as much
        more, up to one half, as a station needs to fill its share of the bank
        `oversample-factor` times.
    """
    settings, room = survey.options.settings, survey.options.memory
    samples = [
        sample
        for part in survey.parts
        for sample in survey.readable(part)
        if sample.split == "train" and not sample.label
    ]
    bank, _ = split_holdout(samples, settings.calibration_fraction)
    sizes = [survey.facts[sample.path].size for sample in bank]
    if not sizes:
        return None
    width = min(settings.coreset_projection or _WIDEST, _WIDEST)
    per_patch = 4 * width + _BESIDE
    image_size, patches = settings.image_size, _patches(sizes, settings, settings.image_size)
    if room is not None and patches * per_patch > _SHARE_OF_MEMORY * room:
        shorter = image_size or max(min(size) for size in sizes)
        largest = math.isqrt(int(shorter**2 * _SHARE_OF_MEMORY * room / (patches * per_patch)))
        image_size = max(_STEP, largest // _STEP * _STEP)
        patches = _patches(sizes, settings, image_size)
    rows = max(settings.global_bank_size, math.ceil(_LEAST_SHARE * patches))
    wanted = math.ceil(100 * settings.oversample_factor * rows / patches) / 100
    ratio = max(settings.local_coreset_ratio, min(_LARGEST_RATIO, wanted))
    return Suggestion(
        image_size=image_size,
        global_bank_size=min(rows, math.ceil(ratio * patches)),
        local_coreset_ratio=ratio,
        images=len(sizes),
        patches=patches,
        memory=patches * per_patch,
        room=room,
    )


def _patches(sizes: Sequence[tuple[int, int]], settings: Settings, image_size: int) -> int:
    """Patches of images of these sizes, (height, width), seen at an image size."""
    from common.data.transforms import Preparation  # brings torch
    from common.patchcore.network.augmentation import sizes_with_copies

    stride, multiple = planned_grid(settings)
    preparation = Preparation(image_size, multiple)
    copied = (copy for size in sizes for copy in sizes_with_copies(size, settings.augment))
    seen = map(preparation.seen, copied)
    return sum(-(-height // stride) * -(-width // stride) for height, width in seen)
