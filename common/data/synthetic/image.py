"""One image of the set with its ground truth, from its own random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.data.synthetic.camera import photograph, stand
from common.data.synthetic.catalog import CATEGORIES
from common.data.synthetic.faults import Faults

_OVERSAMPLE = 2  # edges are also covered by fractions of a drawn point, so two suffice


@dataclass(frozen=True)
class SyntheticImage:
    """A drawn image.

    Attributes
    ----------
    pixels : array of shape (H, W, 3), uint8
    regions : tuple of (str, array of shape (H, W), bool)
        Defect type and place of every defect, in the order of drawing; none in a good image.
    """

    pixels: NDArray[np.uint8]
    regions: tuple[tuple[str, NDArray[np.bool_]], ...]


def draw_image(
    category: int,
    folder: str,
    number: int,
    *,
    size: int,
    seed: int,
    with_defects: bool = True,
) -> SyntheticImage:
    """Draw image `number` of a folder.

    Parameters
    ----------
    category : int
        Index into `CATEGORIES`.
    folder : str
        `train/good`, `test/good` or `test/<defect type>`.
    number : int
        Place in the folder, from 0.
    size : int
        Side of a small category's picture in pixels; large ones are in proportion.
    seed : int
        Of the whole set, at least 0.
    with_defects : bool
        If false, the very same scene, light and noise without its defects: what a perfect ground
        truth compares with.

    Returns
    -------
    SyntheticImage

    Raises
    ------
    ValueError
        If the category has no such folder.

    Notes
    -----
    Random numbers depend on (seed, category, folder, number) alone, so an image is the same
    however many others there are. Scene, defects and camera draw from separate streams.
    """
    kind = CATEGORIES[category]
    folders = list(kind.counts(1, like_autovi=False))
    if folder not in folders:
        raise ValueError(f"{kind.name} has no folder {folder!r}, only {', '.join(folders)}")
    key = folders.index(folder)
    scene, defect, camera = (
        np.random.default_rng([seed, category, key, number, stream]) for stream in range(3)
    )
    wanted: tuple[str, ...] = ()
    if key >= 2 and with_defects:
        wanted = kind.defects[key - 2].types_of_image(number)
    faults = Faults(wanted, defect)
    canvas = stand(scene, kind.image_size(size), _OVERSAMPLE)
    kind.draw(canvas, scene, faults)
    return SyntheticImage(photograph(canvas, camera), tuple(faults.regions))
