"""The picture for people: the image, its heat map on the model's own scale, regions outlined."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from common.system.files import replacing

_OUTLINE: Final = (0, 229, 255)
_OPACITY: Final = 0.7
_LINE_SHARE: Final = 250  # an outline is one 250th of the longer side, at least one pixel


@cache
def _colours() -> NDArray[np.uint8]:
    """Inferno, dark to bright in even steps, as (256, 3)."""
    from matplotlib import colormaps  # half a second to import

    table = colormaps["inferno"](np.linspace(0, 1, 256))[:, :3]
    return np.round(255 * table).astype(np.uint8)


def draw_overlay(
    image: NDArray[np.uint8],
    anomaly_map: NDArray[np.floating],
    limits: tuple[float, float],
    threshold: float | None,
) -> NDArray[np.uint8]:
    """Lay a heat map over its image.

    Parameters
    ----------
    image : array of shape (H, W, 3), uint8
    anomaly_map : array of shape (H, W), float
    limits : (float, float)
        Distances at the ends of the colour scale. At and below the lower one the image shows
        through; the higher, the more opaque. Never taken from the map itself, so that pictures
        of one model can be compared.
    threshold : float or None
        What lies above it is outlined.

    Returns
    -------
    array of shape (H, W, 3), uint8

    Raises
    ------
    ValueError
        If image and map are not of one size.
    """
    if image.shape[:2] != anomaly_map.shape:
        raise ValueError(f"image {image.shape[:2]} and map {anomaly_map.shape} must be equal")
    low, high = limits
    heat = np.clip((anomaly_map - low) / max(high - low, 1e-12), 0.0, 1.0)
    colours = _colours()[np.round(255 * heat).astype(np.intp)]
    opacity = (_OPACITY * heat)[..., None]
    drawn = np.round(image * (1 - opacity) + colours * opacity).astype(np.uint8)
    if threshold is not None:
        drawn[_outline(anomaly_map > threshold)] = _OUTLINE
    return drawn


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels just around the regions, so that what is in them stays to be seen."""
    width = max(1, round(max(inside.shape) / _LINE_SHARE))
    structure = np.ones((3, 3), dtype=bool)
    return ndimage.binary_dilation(inside, structure, iterations=width) & ~inside


def save_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG, whole or not at all; it is on disk when this returns."""
    with replacing(path, durable=True) as file:
        Image.fromarray(pixels).save(file, format="PNG", compress_level=3)
