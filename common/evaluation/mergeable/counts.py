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

    Examples
    --------
    A good image at station a and a defective one at station b: together they have an AUROC.

    >>> import numpy as np
    >>> from common.evaluation import EvaluationCounts
    >>> a, b, total = EvaluationCounts(), EvaluationCounts(), EvaluationCounts()
    >>> a.update(np.zeros((4, 6)), None, label=0, score=0.2, defect_type="good")
    >>> b.update(np.ones((4, 6)), None, label=1, score=0.9, defect_type="crack")
    >>> for sent in (b.to_arrays(), a.to_arrays()):
    ...     total = total.merge(EvaluationCounts.from_arrays(sent))
    >>> total.n_images, total.compute().overall.auc_roc
    (2, 1.0)
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
        anomaly_map : array of shape (H, W), float
            Euclidean distances, or any scores that are higher where a pixel is stranger, at the
            size of the image file in pixels; finite, compared as float32. Not modified.
        regions : sequence of Region or None
            Defect regions: masks of shape (H, W), bool, and saturation areas in pixels. Empty if
            there are none; None if the data set has no masks, so that nothing is known about this
            image's pixels.
        label : int
            0 good, 1 defective.
        score : float
            The image score, a Euclidean distance as those of the map, or any number that is
            higher for a stranger image.
        defect_type : str
            Name of the image's test folder. Counts as its type if it is defective and has no
            regions; otherwise the types of its regions do.

        Raises
        ------
        ValueError
            If the map or score is not finite, a mask has another shape than the map or no pixel,
            or label and regions contradict. Nothing is counted then.

        Examples
        --------
        >>> import numpy as np
        >>> from common.data.regions import Region
        >>> from common.evaluation import EvaluationCounts
        >>> anomaly_map = np.array([[0, 0, 0], [0, 0, 7.5]])
        >>> found = Region(anomaly_map > 0, "crack", saturation_area=1)
        >>> counts = EvaluationCounts()
        >>> counts.update(anomaly_map, [found], label=1, score=7.5, defect_type="crack")
        >>> counts.n_images, counts.image_scores(label=1)
        (1, [7.5])
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

        Parameters
        ----------
        other : EvaluationCounts
            Of the same category. Not modified.

        Returns
        -------
        EvaluationCounts
            Itself.

        Examples
        --------
        >>> import numpy as np
        >>> from common.evaluation import EvaluationCounts
        >>> one, other = EvaluationCounts(), EvaluationCounts()
        >>> one.update(np.zeros((4, 6)), [], label=0, score=0.3, defect_type="good")
        >>> other.update(np.zeros((4, 6)), [], label=0, score=0.1, defect_type="good")
        >>> one.merge(other).image_scores(label=0)
        [0.1, 0.3]
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

        Returns
        -------
        EvaluationResult
            Areas, rates and their bounds as shares from 0 to 1, counts as numbers of images,
            regions and pixels; what cannot be computed is left out, with the reason.

        Examples
        --------
        One of the region's two pixels stands out: its sPRO is 1/2 before the first false positive
        and rises to 1 with the last one, so that the area under it is 3/4.

        >>> import numpy as np
        >>> from common.data.regions import Region
        >>> from common.evaluation import EvaluationCounts
        >>> anomaly_map = np.array([[3.0, 0, 0], [0, 0, 0]])
        >>> mask = np.array([[True, True, False], [False, False, False]])
        >>> counts, defect = EvaluationCounts(), Region(mask, "crack", saturation_area=2)
        >>> counts.update(anomaly_map, [defect], label=1, score=3.0, defect_type="crack")
        >>> counts.compute().overall.auc_spro[1.0]
        0.75
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

    def images_alone(self) -> EvaluationCounts:
        """The same images with their scores, and nothing of their pixels."""
        alone = EvaluationCounts()
        alone._state.images = sorted(self._state.images)
        return alone

    def rescored(self, good: Sequence[float], defective: Sequence[float]) -> EvaluationCounts:
        """The same images with other scores, and nothing of their pixels.

        Parameters
        ----------
        good, defective : sequences of float
            For the good and the defective images, in ascending order of the scores they have now.

        Raises
        ------
        ValueError
            If there is not one for each, or one is not finite.
        """
        images, again = sorted(self._state.images), EvaluationCounts()
        for old, new in zip(images, [*good, *defective], strict=True):
            again._state.images.append(
                image_record(old.label, float(new), old.types, old.has_masks)
            )
        return again

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
