"""The mergeable evaluation: counts that stations send instead of anomaly maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.data.regions import Region
from common.evaluation.curve import Levels
from common.evaluation.images import image_record
from common.evaluation.mergeable.arrays import pack_counts, unpack_counts
from common.evaluation.mergeable.histogram import (
    add_histograms,
    count_scores,
    pixels_up_to_saturation,
)
from common.evaluation.mergeable.state import CountsState, RegionCounts
from common.evaluation.pixels import checked_map, image_types, split_pixels
from common.evaluation.result import EvaluationResult, evaluate_scopes


class EvaluationCounts:
    """Evaluation of one category from counts that can be added up.

    Stations `update` it image by image, send `to_arrays()`, and the server merges what it gets.
    The sum of any parts in any order is bit for bit what one evaluation of all images gives.

    Notes
    -----
    Scores are counted in fixed bins (`histogram.BIN_BITS`), which need no agreement on a range
    and resolve one part in 2,048. Image scores are kept as they are, so image-level metrics
    are exact; each area in the result comes with a bound on its error.

    Memory and bytes grow with the bins in use, not with pixels: about 6,000 bins for each
    combination of defect types, and for each region at most as many as it has pixels. `nbytes`
    says what a station sends.
    """

    def __init__(self) -> None:
        self._state = CountsState()

    def update(
        self,
        anomaly_map: NDArray[Any],
        regions: Sequence[Region] | None,
        *,
        label: int,
        score: float,
        defect_type: str,
    ) -> None:
        """Count one test image.

        Parameters
        ----------
        anomaly_map : array of shape (H, W)
            Scores at the size of the image file, compared as float32. Not modified.
        regions : sequence of Region or None
            Defect regions, masks (H, W); empty if there are none; None if the data set has no
            masks, so that nothing is known about this image's pixels.
        label : int
            0 good, 1 defective.
        score : float
            The image score.
        defect_type : str
            Name of the image's test folder. Counts as its type if it is defective and has no
            regions; otherwise the types of its regions do.

        Raises
        ------
        ValueError
            If the map or score is not finite, a mask has another shape than the map or no pixel,
            or label and regions contradict. Nothing is counted then.
        """
        types = image_types(regions, label, defect_type)
        record = image_record(label, score, types, regions is not None)
        scores = checked_map(anomaly_map)
        if regions is not None:
            pixels = split_pixels(scores, regions, types)
            normal = count_scores(pixels.normal)
            self._add(
                CountsState(
                    normal={types: normal} if normal.total else {},
                    anomalous={
                        key: count_scores(values) for key, values in pixels.anomalous.items()
                    },
                    regions=[
                        RegionCounts(
                            region.defect_type, region.saturation_area, count_scores(region.scores)
                        )
                        for region in pixels.regions
                    ],
                )
            )
        self._state.images.append(record)

    def merge(self, other: EvaluationCounts) -> EvaluationCounts:
        """Add the counts of other images to these, and return this object.

        Associative and commutative: `compute` and `to_arrays` give the same bits for any order.
        """
        self._add(other._state)
        return self

    def compute(
        self, *, kinds: Mapping[str, str] | None = None, breakdown: bool = True
    ) -> EvaluationResult:
        """Metrics of all images counted so far, with a bound on the error of each area.

        Parameters
        ----------
        kinds : mapping of str to str, optional
            Defect types to `structural` or `logical`, for types that are not AutoVI's.
        breakdown : bool
            Whether to compute the defect types and kinds too, or the whole category alone.
        """
        return evaluate_scopes(self._state.images, self._levels, "merged counts", kinds, breakdown)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The counts as named one-dimensional arrays of numbers, in canonical order."""
        return pack_counts(self._state)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> EvaluationCounts:
        """Counts from what `to_arrays` gave, received from anywhere.

        Raises
        ------
        ValueError
            With one sentence, if the arrays cannot be the counts of any images.
        """
        counts = cls()
        counts._state = unpack_counts(arrays)
        return counts

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that a station sends for this category."""
        return sum(array.nbytes for array in self.to_arrays().values())

    @property
    def n_images(self) -> int:
        """Images counted so far."""
        return len(self._state.images)

    def image_scores(self, label: int) -> list[float]:
        """Scores of the good (0) or the defective (1) images counted so far, ascending."""
        return sorted(image.score for image in self._state.images if image.label == label)

    def _add(self, more: CountsState) -> None:
        """Add a state to this one; histograms are replaced, never changed in place."""
        state = self._state
        for mine, theirs in ((state.normal, more.normal), (state.anomalous, more.anomalous)):
            for types, histogram in theirs.items():
                known = mine.get(types)
                mine[types] = histogram if known is None else add_histograms([known, histogram])
        # A copy, in case a state is added to itself.
        state.regions.extend(list(more.regions))
        state.images.extend(list(more.images))

    def _levels(self, types: frozenset[str] | None) -> Levels:
        """Bins that hold anomalous pixels of some types, highest first."""
        state = self._state
        normal = add_histograms(
            histogram
            for key, histogram in state.normal.items()
            if types is None or not key or types.intersection(key)
        )
        anomalous = add_histograms(
            histogram
            for key, histogram in state.anomalous.items()
            if types is None or types.intersection(key)
        )
        # Sorted, because float sums depend on their order.
        regions = sorted(
            (region for region in state.regions if types is None or region.defect_type in types),
            key=RegionCounts.sort_key,
        )
        rise = np.zeros(anomalous.bins.size, dtype=np.float64)
        for region in regions:
            found = pixels_up_to_saturation(region.pixels, region.saturation_area)
            where = np.searchsorted(anomalous.bins, region.pixels.bins)
            rise[where] += found / (region.saturation_area * len(regions))
        below = np.concatenate([np.zeros(1, np.int64), np.cumsum(normal.counts)])
        total = normal.total
        up_to = total - below[np.searchsorted(normal.bins, anomalous.bins, side="left")]
        above = total - below[np.searchsorted(normal.bins, anomalous.bins, side="right")]
        return Levels(
            above=above[::-1],
            up_to=up_to[::-1],
            rise=rise[::-1],
            anomalous=anomalous.counts[::-1],
            normal_pixels=total,
            regions=len(regions),
        )
