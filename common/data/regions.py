"""Ground-truth regions: where the defects of a test image are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """One annotated defect of one image.

    Attributes
    ----------
    mask : array of shape (H, W), bool
        True on the pixels of the defect; at least one pixel.
    defect_type : str
        The type of this region (in AutoVI by the grey value of its mask, which may differ from
        the folder the image lies in).
    saturation_area : int
        Pixels after which the region counts as fully found, at least 1.
    """

    mask: NDArray[np.bool_]
    defect_type: str
    saturation_area: int


def saturation_area(area: int, threshold: float, relative: bool) -> int:
    """Pixels of a region that count as having found all of it.

    Parameters
    ----------
    area : int
        Pixels of the region.
    threshold : float
        A share of the area if `relative`, else a number of pixels.
    relative : bool
        How `threshold` is meant.

    Returns
    -------
    int
        `int(threshold * area)` if relative, else `min(threshold, area)`; 1 where that is 0.

    References
    ----------
    Bergmann et al., "Beyond Dents and Scratches", IJCV 2022, section 5 (sPRO); AutoVI's
    `defects_config.json`.
    """
    size = int(threshold * area) if relative else min(int(threshold), area)
    return max(size, 1)
