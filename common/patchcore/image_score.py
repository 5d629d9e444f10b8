"""From an anomaly map to one number per image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.config import refused

ImageScore = Callable[[NDArray[np.float32]], float]


def maximum(anomaly_map: NDArray[np.float32]) -> float:
    """Highest value of an anomaly map (H, W)."""
    return float(anomaly_map.max())


def percentile(percent: float) -> ImageScore:
    """Return the score that is a percentile of the map, linear between neighbours."""
    return lambda anomaly_map: float(np.percentile(anomaly_map, percent))


IMAGE_SCORES: Final[dict[str, ImageScore]] = {"max": maximum}
"""Name in the run config -> function of an anomaly map; a number there is a percentile."""


def find_image_score(name: str) -> ImageScore:
    """Look a name of the run config up.

    Parameters
    ----------
    name : str
        A key of `IMAGE_SCORES`, or a percentile such as `"99.5"`.

    Returns
    -------
    callable (anomaly map of shape (H, W), float32) -> float

    Raises
    ------
    InputError
        If it is neither.
    """
    if name in IMAGE_SCORES:
        return IMAGE_SCORES[name]
    expected = f'{", ".join(IMAGE_SCORES)} or a percentile as "99.5"'
    try:
        percent = float(name)
    except ValueError:
        raise refused("image-score", name, expected) from None
    if not 0 <= percent <= 100:
        raise refused("image-score", name, "a percentile from 0 to 100")
    return percentile(percent)
