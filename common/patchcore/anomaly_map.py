"""From patch distances to an anomaly map at the image's size, and to one score per image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from common.data.transforms import resized
from common.patchcore.image_score import find_image_score
from common.patchcore.memory_bank import MemoryBank

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
        Which number of the map is the image score: a name or percentile of `find_image_score`.

    Examples
    --------
    Every patch lies at a distance of 5 from the only row, and so does every pixel.

    >>> import numpy as np
    >>> from common.patchcore import AnomalyScorer, MemoryBank
    >>> scorer = AnomalyScorer(MemoryBank(np.zeros((1, 2), dtype=np.float32)))
    >>> features = np.full((2, 3, 2), [3, 4], dtype=np.float32)  # 2 x 3 patches
    >>> anomaly_map = scorer.anomaly_map(features, (16, 24))
    >>> anomaly_map.shape, scorer.image_score(anomaly_map)
    ((16, 24), 5.0)
    """

    def __init__(self, bank: MemoryBank, image_size: int = 0, score: str = "max") -> None:
        self.bank, self.image_size, self._score = bank, image_size, find_image_score(score)

    def anomaly_map(
        self, features: NDArray[np.floating], file_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Distances of all patches from the bank, as a picture of the image file's size.

        Parameters
        ----------
        features : array of shape (rows, columns, d), float16 or float32
            Of one image.
        file_size : (height, width)
            In pixels.

        Returns
        -------
        array of shape (height, width), float32
            Euclidean distances, bilinear between patch centres, smoothed; comparable between
            images, never rescaled per image.
        """
        rows, columns, dim = features.shape
        queries = np.asarray(features, dtype=np.float32).reshape(-1, dim)
        distances, _ = self.bank.nearest(queries)
        return render_map(
            np.asarray(distances, dtype=np.float32).reshape(rows, columns),
            file_size,
            self.image_size,
        )

    def image_score(self, anomaly_map: NDArray[np.float32]) -> float:
        """Return the one number of a map that its image is judged by."""
        return self._score(anomaly_map)


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
    seen = resized(file_size, image_size)
    sigma = [SMOOTHING_SIGMA * file / net for file, net in zip(file_size, seen, strict=True)]
    return ndimage.gaussian_filter(large[0, 0].numpy(), sigma, mode="reflect")
