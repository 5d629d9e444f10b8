"""The exact evaluation: every score is a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.regions import Region
from common.evaluation.curve import Levels
from common.evaluation.images import ImageRecord, image_record
from common.evaluation.normal_scores import NormalScores
from common.evaluation.pixels import (
    RegionScores,
    TypeSet,
    checked_map,
    image_types,
    split_pixels,
)
from common.evaluation.result import EvaluationResult, evaluate_scopes


class ExactEvaluation:
    """Evaluation of one category in which no score is rounded or left out.

    Has the interface of `EvaluationCounts` (`update`, `compute`) and cannot be sent: it holds
    every score.

    Notes
    -----
    Memory: 4 bytes for each pixel of the test set, up to 8 for each pixel of a region and, in
    `compute`, about 55 for each distinct score inside regions.

    Time: one sort of the normal scores that reach the lowest score in any region, then one walk
    over them for each defect type: O(n log n).

    Examples
    --------
    Half of the region's pixels lie above all others, half among them: an AUC-sPRO of 3/4.

    >>> import numpy as np
    >>> from common.data.regions import Region
    >>> from common.evaluation import ExactEvaluation
    >>> anomaly_map = np.array([[3.0, 0, 0], [0, 0, 0]])
    >>> mask = np.array([[True, True, False], [False, False, False]])
    >>> exact, defect = ExactEvaluation(), Region(mask, "crack", saturation_area=2)
    >>> exact.update(anomaly_map, [defect], label=1, score=3.0, defect_type="crack")
    >>> exact.compute().overall.auc_spro[1.0]
    0.75
    """

    def __init__(self) -> None:
        self._images: list[ImageRecord] = []
        self._normal: dict[TypeSet, NormalScores] = {}
        self._anomalous: dict[TypeSet, list[NDArray[np.float32]]] = {}
        self._regions: list[RegionScores] = []

    def update(
        self,
        anomaly_map: NDArray[Any],
        regions: Sequence[Region] | None,
        *,
        label: int,
        score: float,
        defect_type: str,
    ) -> None:
        """Take in one test image: parameters and errors are those of `EvaluationCounts.update`."""
        types = image_types(regions, label, defect_type)
        record = image_record(label, score, types, regions is not None)
        scores = checked_map(anomaly_map)
        if regions is not None:
            pixels = split_pixels(scores, regions, types)
            self._normal.setdefault(types, NormalScores()).add(pixels.scores, pixels.outside)
            for key, values in pixels.anomalous.items():
                self._anomalous.setdefault(key, []).append(values)
            self._regions.extend(_highest(region) for region in pixels.regions)
        self._images.append(record)

    def compute(
        self, *, kinds: Mapping[str, str] | None = None, breakdown: bool = True
    ) -> EvaluationResult:
        """Metrics of all images taken in so far; parameters as in `EvaluationCounts.compute`."""
        return evaluate_scopes(self._images, self._levels, "exact", kinds, breakdown)

    def _levels(self, types: frozenset[str] | None) -> Levels:
        """Distinct scores of the anomalous pixels of some types, highest first."""
        from common.evaluation.exact_kernels import add_at_levels, distinct_scores

        parts = [
            values
            for key, arrays in self._anomalous.items()
            if types is None or types.intersection(key)
            for values in arrays
        ]
        inside = np.concatenate([np.empty(0, np.float32), *parts])
        inside.sort()
        levels, anomalous = distinct_scores(inside)
        del inside
        regions = [
            region for region in self._regions if types is None or region.defect_type in types
        ]
        rise = np.zeros(levels.size, dtype=np.float64)
        for region in regions:
            add_at_levels(levels, region.scores, 1 / (region.saturation_area * len(regions)), rise)
        below = np.zeros(levels.size, dtype=np.int64)
        not_above = np.zeros(levels.size, dtype=np.int64)
        total = 0
        for key, scores in self._normal.items():
            if types is None or not key or types.intersection(key):
                total += scores.size
                if levels.size:
                    scores.count_below(levels, below, not_above)
        return Levels(
            above=np.subtract(total, not_above, out=not_above)[::-1],
            up_to=np.subtract(total, below, out=below)[::-1],
            rise=rise[::-1],
            anomalous=anomalous[::-1],
            normal_pixels=total,
            regions=len(regions),
        )


def _highest(region: RegionScores) -> RegionScores:
    """The scores that count towards a region's sPRO, as many as its saturation area, ascending."""
    highest = np.sort(region.scores)[-region.saturation_area :].copy()
    return RegionScores(region.defect_type, region.saturation_area, highest)
