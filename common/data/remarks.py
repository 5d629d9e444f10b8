"""What a reader of results must know about the images: values that are hardly used, turned ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from common.data.images import QUARTERS, as_rgb, open_picture, orientation, stored_bits
from common.data.samples import Sample
from common.errors import InputError

_FEW: Final = 64
"""Grey levels of 256: what 14 bits leave in a file of 16. True 16-bit images use more."""
_LOOKED_AT: Final = 8
"""Images of a category that are decoded for a remark; `check` looks at all."""


def image_remarks(samples: Sequence[Sample]) -> list[str]:
    """Say what is odd about images that can be read all the same; names no file.

    Parameters
    ----------
    samples : sequence of Sample
        Of any categories.

    Returns
    -------
    list of str
        A sentence for every remark of every category.

    Notes
    -----
    Reads the headers of defective images with masks, and of a few others; decodes a few images a
    category if they have more than 8 bits.
    """
    remarks = []
    for category in sorted({sample.category for sample in samples}):
        own = [sample for sample in samples if sample.category == category]
        if (found := range_remark([sample.path for sample in own])) is not None:
            remarks.append(f"{category}: {found}; save them with white as the largest value")
        turned = sum(map(is_turned_apart, own))
        if turned:
            remarks.append(
                f"{category}: {turned} images are turned by their EXIF orientation and their masks "
                "are not, or the reverse, and their sizes do not tell which is meant: run `check`"
            )
    return remarks


def range_remark(paths: Sequence[Path]) -> str | None:
    """Say that images of one category use little of their format's range, from a few of them."""
    few = np.linspace(0, len(paths) - 1, min(len(paths), _LOOKED_AT)).astype(int)
    return describe_range(filter(None, [_range_of(paths[at]) for at in few]))


def describe_range(images: Iterable[tuple[int, int]]) -> str | None:
    """Say that images of one category use little of their format's range.

    Parameters
    ----------
    images : iterable of (bits a channel in the file, brightest grey value from 0 to 255)

    Returns
    -------
    str or None
        None for files of 8 bits, and where enough is used.
    """
    deep = [brightest for bits, brightest in images if bits > 8]
    if not deep or max(deep) >= _FEW:
        return None
    levels = max(deep) + 1
    camera = max(8, (257 * max(deep)).bit_length())
    return (
        f"16-bit images with no value above {257 * levels - 1} of 65535, as of a camera of "
        f"{camera} bits, leave {levels} of 256 grey levels"
    )


def is_turned_apart(sample: Sample) -> bool:
    """Whether an image's EXIF orientation is not its masks', and no size tells what is meant.

    Where one of the two is turned by a quarter and their sizes agree, they belong together so.
    """
    own, others, (width, height) = orientations(sample)
    return any(
        other != own and (width == height or (other in QUARTERS) == (own in QUARTERS))
        for other in others
    )


def orientations(sample: Sample) -> tuple[int, list[int], tuple[int, int]]:
    """EXIF orientation of an image and of each of its masks, and the image's size as stored.

    Of files that cannot be read, and of images without masks: upright.
    """
    if not sample.masks:
        return 1, [], (0, 0)
    own, size = _orientation_of(sample.path)
    return own, [_orientation_of(path)[0] for path in sample.masks], size


def _orientation_of(path: Path) -> tuple[int, tuple[int, int]]:
    try:
        with open_picture(path) as image:
            return orientation(image), image.size
    except InputError:
        return 1, (0, 0)


def _range_of(path: Path) -> tuple[int, int] | None:
    """None for files of 8 bits and for those that a run will stop at."""
    try:
        with open_picture(path) as image:
            bits = stored_bits(image)
            return (bits, int(np.asarray(as_rgb(image, bits)).max())) if bits > 8 else None
    except InputError:
        return None
