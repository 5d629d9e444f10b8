"""The state of an `EvaluationCounts`."""

from __future__ import annotations

from dataclasses import dataclass, field

from common.evaluation.images import ImageRecord
from common.evaluation.mergeable.histogram import Histogram
from common.evaluation.pixels import TypeSet


@dataclass(frozen=True)
class RegionCounts:
    """Counts of one region's scores by bin."""

    defect_type: str
    saturation_area: int
    pixels: Histogram

    def sort_key(self) -> tuple[str, int, bytes, bytes]:
        """Regions with equal keys are equal, so sorting by it forgets where they came from."""
        return (
            self.defect_type,
            self.saturation_area,
            self.pixels.bins.tobytes(),
            self.pixels.counts.tobytes(),
        )


@dataclass
class CountsState:
    """Everything that an `EvaluationCounts` knows.

    Attributes
    ----------
    images : list of ImageRecord
    normal : dict of TypeSet to Histogram
        Pixels outside every region, by the types of their image.
    anomalous : dict of TypeSet to Histogram
        Pixels inside regions, each once, by the types of the regions that hold the pixel.
    regions : list of RegionCounts
    """

    images: list[ImageRecord] = field(default_factory=list)
    normal: dict[TypeSet, Histogram] = field(default_factory=dict)
    anomalous: dict[TypeSet, Histogram] = field(default_factory=dict)
    regions: list[RegionCounts] = field(default_factory=list)
