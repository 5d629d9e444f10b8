"""From patch distances to an anomaly map at the image's size, and to one score per image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from common.data.transforms import resized
from common.patchcore.image_score import Evidence, find_image_score
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.owned_bank import OwnedBank
from common.patchcore.without_owner import scores_without

SMOOTHING_SIGMA = 4.0
"""Gaussian sigma in pixels of the network's input (Roth et al., CVPR 2022, section 3.3)."""


class AnomalyScorer:
    """Judges patch features by their distance from a memory bank.

    Parameters
    ----------
    bank : MemoryBank
        What is normal.
    image_size : int
        The feature space's: at which scale the network saw the image.
    score : str
        Which number is the image score: a name that `find_image_score` knows.
    owned : OwnedBank, optional
        The very same rows with who brought them: then one search also says what is nearest without
        any one owner, and `scores_without` what the image score would be.

    Examples
    --------
    Every patch lies at a distance of 5 from the only row, and so does every pixel.

    >>> import numpy as np
    >>> from common.patchcore import AnomalyScorer, MemoryBank
    >>> scorer = AnomalyScorer(MemoryBank(np.zeros((1, 2), dtype=np.float32)))
    >>> features = np.full((2, 3, 2), [3, 4], dtype=np.float32)  # 2 x 3 patches
    >>> evidence = scorer.evidence(features, (16, 24))
    >>> evidence.anomaly_map.shape, scorer.image_score(evidence)
    ((16, 24), 5.0)
    """

    def __init__(
        self,
        bank: MemoryBank,
        image_size: int = 0,
        score: str = "max",
        owned: OwnedBank | None = None,
    ) -> None:
        self.bank, self.image_size, self._score = bank, image_size, find_image_score(score)
        self.owned = owned

    def evidence(self, features: NDArray[np.floating], file_size: tuple[int, int]) -> Evidence:
        """Compare all patches of an image with the bank: one search, whatever the score.

        Parameters
        ----------
        features : array of shape (rows, columns, d), float16 or float32
            Of one image. Not modified, and not copied for the result.
        file_size : (height, width)
            In pixels.

        Returns
        -------
        Evidence
            What `image_score` takes; its `anomaly_map` is a picture of the image file's size.
        """
        rows, columns, dim = features.shape
        queries = np.asarray(features, dtype=np.float32).reshape(-1, dim)
        owners = without = None
        if self.owned is None:
            distances, nearest = self.bank.nearest(queries)
        else:
            two = self.owned.nearest_two(queries)
            distances, nearest = two.distances, two.indices
            owners, without = two.owners.reshape(rows, -1), two.without.reshape(rows, -1)
        grid = distances.reshape(rows, columns)
        return Evidence(
            render_map(np.asarray(grid, dtype=np.float32), file_size, self.image_size),
            grid,
            nearest.reshape(rows, columns),
            features,
            self.bank,
            owners,
            without,
        )

    def anomaly_map(
        self, features: NDArray[np.floating], file_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Distances of all patches from the bank, as a picture of the image file's size.

        Parameters
        ----------
        features, file_size
            As for `evidence`.

        Returns
        -------
        array of shape (height, width), float32
            Euclidean distances, bilinear between patch centres, smoothed; comparable between
            images, never rescaled per image.
        """
        return self.evidence(features, file_size).anomaly_map

    def image_score(self, evidence: Evidence) -> float:
        """Return the one number that an image is judged by."""
        return self._score(evidence)

    def scores_without(self, evidence: Evidence, score: float) -> NDArray[np.float64] | None:
        """Return the image score without each owner's rows, (owners,), float64.

        None where the bank does not know who brought its rows, or one owner brought them all.
        """
        if self.owned is None or len(self.owned.owners) < 2:
            return None
        size = evidence.anomaly_map.shape
        sigmas = _sigmas((size[0], size[1]), self.image_size)
        return scores_without(evidence, score, self._score, len(self.owned.owners), sigmas)


def _sigmas(file_size: tuple[int, int], image_size: int) -> tuple[float, float]:
    """Of the smoothing, in pixels of the file."""
    seen = resized(file_size, image_size)
    tall, wide = (SMOOTHING_SIGMA * file / net for file, net in zip(file_size, seen, strict=True))
    return tall, wide


def render_map(
    patch_distances: NDArray[np.float32], file_size: tuple[int, int], image_size: int
) -> NDArray[np.float32]:
    """Bilinear to the size of the file, then Gaussian with sigma 4 at the network's scale.

    Parameters
    ----------
    patch_distances : array of shape (rows, columns), float32
    file_size : (height, width)
    image_size : int
        As in the settings; decides how many file pixels are one network pixel.

    Returns
    -------
    array of shape (height, width), float32
    """
    from scipy import ndimage  # a third of a second: most messages of a run draw no map

    grid = torch.from_numpy(np.ascontiguousarray(patch_distances))[None, None]
    large = torch.nn.functional.interpolate(
        grid, size=file_size, mode="bilinear", align_corners=False
    )
    sigma = _sigmas(file_size, image_size)
    return ndimage.gaussian_filter(large[0, 0].numpy(), sigma, mode="reflect")
