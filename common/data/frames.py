"""How many pictures are in an image file: who reads one of several judges a part of it."""

from __future__ import annotations

from typing import Final

from PIL import Image

_SUBFILE_TYPE: Final = 254
_REDUCED: Final = 1
"""Bit of a TIFF page's subfile type: a smaller version of another page."""


def count_pictures(image: Image.Image) -> int:
    """Count the pictures of an opened file; decodes none where headers tell.

    Parameters
    ----------
    image : PIL image
        As `Image.open` returns it; left at its first picture.

    Returns
    -------
    int
        Pages of a TIFF, frames of an animation, views of a multi-picture JPEG. What belongs to
        the first picture is not counted: pages that a TIFF calls reduced, and a JPEG's previews
        and gain maps, which are smaller than it is.

    Raises
    ------
    ValueError
        If the first page, the one that is read, is a preview of a later one.
    """
    frames = int(getattr(image, "n_frames", 1))
    if frames == 1 or image.format not in ("MPO", "TIFF"):
        return frames
    size, own = image.size, 0
    for frame in range(frames):
        image.seek(frame)
        if image.format == "TIFF":
            reduced = getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0) & _REDUCED
            if reduced and frame == 0:
                raise ValueError("its first page is a preview of a later one")
            own += not reduced
        else:
            own += frame == 0 or image.width * image.height >= size[0] * size[1]
    image.seek(0)
    return own
