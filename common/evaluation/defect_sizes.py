"""Annotated defects that are smaller than one patch of the network's grid, and what would help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_SENSIBLE: Final = 2
"""Beyond so many times its present size an image only becomes larger: a speck stays a speck."""


class DefectSize(NamedTuple):
    """How large a defect is: two numbers, which tell of no file and no place.

    Attributes
    ----------
    extent : int
        Longer side of the box around it, in pixels of the image file.
    side : int
        Shorter side of that image file.
    """

    extent: int
    side: int


def defect_size(mask: NDArray[np.bool_]) -> DefectSize:
    """Measure one region, array (H, W), bool, of which some pixel is true."""
    spans = [np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1)]
    return DefectSize(max(int(span[-1] - span[0]) + 1 for span in spans), min(mask.shape))


@dataclass(frozen=True)
class SmallDefects:
    """The defects of one category that lie within less than one patch.

    Attributes
    ----------
    count, total : int
        How many, of how many.
    stride : int
        Side of a patch, in pixels of the network's input.
    image_size : int
        As in the settings; decides how many file pixels are one of the network's.
    patch : (smallest, largest)
        Side of a patch in pixels of the file, over the images of these defects.
    own : int
        How many there would be at the images' own size.
    needed : int
        The smallest `image-size` that leaves none.
    side : int
        Shorter side of the largest of these images.
    """

    count: int
    total: int
    stride: int
    image_size: int
    patch: tuple[float, float]
    own: int
    needed: int
    side: int

    @property
    def own_size_helps(self) -> bool:
        """Whether it is the chosen `image-size` that makes some of them so small."""
        return self.own < self.count

    @property
    def found(self) -> str:
        """What there is, in plain words."""
        low, high = (f"{side:.4g}x{side:.4g}" for side in self.patch)
        file = f"{low} of the file" if low == high else f"{low} to {high} of the files"
        return (
            f"{self.count} of {self.total} annotated defects "
            f"{'is' if self.count == 1 else 'are'} smaller than one patch "
            f"({self.stride}x{self.stride} pixels of the network's input = {file})"
        )

    @property
    def mend(self) -> str:
        """What to do."""
        reachable = self.needed <= _SENSIBLE * max(self.side, self.image_size)
        if self.own_size_helps and not self.own:
            more = f" or at least {self.needed}" if reachable else ""
            return f"use image-size=0 (own size){more}"
        if self.own_size_helps:
            more = f", with {self.needed} none" if reachable else ""
            return f"with image-size=0 (own size) {self.own} would be{more}"
        if reachable:
            return f"image-size={self.needed} would leave none, and scale images up"
        return "no image-size helps: look whether they are specks of a mask, or take nearer images"

    @property
    def sentence(self) -> str:
        """Both."""
        return f"{self.found}: {self.mend}"


def small_defects(sizes: Iterable[DefectSize], stride: int, image_size: int) -> SmallDefects | None:
    """Count the defects whose box is, along both sides, shorter than one patch.

    Parameters
    ----------
    sizes : iterable of DefectSize
        Of all annotated defects of one category.
    stride : int
        Pixels of the network's input from one patch to the next.
    image_size : int
        As in the settings: 0, or the shorter side at which the network sees an image.

    Returns
    -------
    SmallDefects or None
        None if there is no such defect.

    Notes
    -----
    In whole numbers: a patch is `stride x side / (image_size or side)` pixels of the file. Long
    thin defects are not small: they lie in many patches.
    """
    known = list(sizes)
    small = [one for one in known if one.extent * (image_size or one.side) < stride * one.side]
    if not small:
        return None
    patches = [stride * one.side / (image_size or one.side) for one in small]
    return SmallDefects(
        count=len(small),
        total=len(known),
        stride=stride,
        image_size=image_size,
        patch=(min(patches), max(patches)),
        own=sum(one.extent < stride for one in small),
        needed=max(-(-stride * one.side // one.extent) for one in small),
        side=max(one.side for one in small),
    )
