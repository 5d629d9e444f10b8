"""Where a map exceeds the threshold: connected regions with place, size and peak."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class SuspiciousRegion:
    """One connected region of an anomaly map above the threshold.

    Attributes
    ----------
    top, left, height, width : int
        The smallest box around it, in pixels of the image file.
    area : int
        Pixels.
    peak : float
        The highest distance in it.
    peak_row, peak_column : int
        Where that is.
    """

    top: int
    left: int
    height: int
    width: int
    area: int
    peak: float
    peak_row: int
    peak_column: int

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


def find_regions(anomaly_map: NDArray[np.floating], threshold: float) -> list[SuspiciousRegion]:
    """Find the 8-connected regions of a map that lie above the threshold.

    Parameters
    ----------
    anomaly_map : array of shape (H, W), float
    threshold : float

    Returns
    -------
    list of SuspiciousRegion
        The highest peak first.
    """
    labels, count = ndimage.label(anomaly_map > threshold, structure=np.ones((3, 3), dtype=int))
    if count == 0:
        return []
    numbers = range(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    peaks = ndimage.maximum_position(anomaly_map, labels, numbers)
    found = []
    for number, box, (row, column) in zip(
        numbers, ndimage.find_objects(labels), peaks, strict=True
    ):
        rows, columns = box
        found.append(
            SuspiciousRegion(
                top=rows.start,
                left=columns.start,
                height=rows.stop - rows.start,
                width=columns.stop - columns.start,
                area=int(areas[number]),
                peak=float(anomaly_map[row, column]),
                peak_row=int(row),
                peak_column=int(column),
            )
        )
    return sorted(found, key=lambda region: (-region.peak, region.top, region.left))
