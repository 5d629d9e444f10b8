"""What a mask looks like, and whether a defect can look like that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from common.evaluation.defect_sizes import DefectSize

_NEIGHBOURS: Final = np.ones((3, 3), dtype=bool)
_FEW_PIXELS: Final = 4
_SHARE_OF_FEW: Final = 1e-5


@dataclass(frozen=True)
class MaskShape:
    """A mask as the evaluation reads it: every pixel above 0 is marked.

    Attributes
    ----------
    levels : int
        Distinct grey values above 0.
    graded : bool
        Whether some of them only rim others, as soft edges and JPEG compression do.
    regions : int
        Connected ones; pixels that touch at a corner are connected.
    halved : int
        Regions of the pixels above half of the largest value.
    specks : int
        Regions of a few pixels: at most 4, or a hundred-thousandth of the image if that is more.
    share : float
        Marked share of the image.
    inverted : bool
        Whether the rim of the image is marked and not most of the rest.
    sizes : tuple of DefectSize
        Of each region that is no speck; of none in a graded mask, whose regions are in doubt.
    """

    levels: int
    graded: bool
    regions: int
    halved: int
    specks: int
    share: float
    inverted: bool
    sizes: tuple[DefectSize, ...]

    @property
    def reading(self) -> str:
        """How the evaluation reads the mask."""
        few = "region" if self.regions == 1 else "regions"
        return f"read as {self.regions} {few} of {self.share:.2%} of the image, every pixel above 0"


def describe_mask(values: NDArray[np.uint8], connected: bool) -> MaskShape:
    """Look at a mask that has some pixel above 0.

    Parameters
    ----------
    values : array of shape (H, W), uint8
    connected : bool
        Whether each connected region is one defect (MVTec), or all of the file (AutoVI).
    """
    marked = values > 0
    labels, regions = marked.astype(np.int32), 1
    if connected:
        labels, regions = ndimage.label(marked, structure=_NEIGHBOURS)
    areas = np.bincount(labels.ravel(), minlength=2)[1:]
    levels = np.unique(values[marked])
    graded, halved = False, regions
    if len(levels) > 1:
        halved = ndimage.label(values > levels[-1] / 2, structure=_NEIGHBOURS)[1]
        numbers = np.arange(1, regions + 1)
        highest, lowest = (f(values, labels, numbers) for f in (ndimage.maximum, ndimage.minimum))
        inside = [ndimage.binary_erosion(values == level, _NEIGHBOURS).any() for level in levels]
        graded = bool((highest != lowest).any()) and not all(inside)
    rim = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    few = areas <= max(_FEW_PIXELS, _SHARE_OF_FEW * values.size)
    boxes = [] if graded else ndimage.find_objects(labels)
    return MaskShape(
        levels=len(levels),
        graded=graded,
        regions=regions,
        halved=halved,
        specks=int(few.sum()),
        share=float(marked.mean()),
        inverted=bool(rim.mean() > 0.95 and not marked.all()),
        sizes=tuple(
            DefectSize(max(part.stop - part.start for part in box), min(values.shape))
            for box, is_speck in zip(boxes, few[: len(boxes)], strict=True)
            if not is_speck
        ),
    )
