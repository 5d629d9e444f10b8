"""Reading image files: size from the header, pixels as RGB, one clear error for what is broken."""

from __future__ import annotations

import errno
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.errors import UnreadableImageError, explained

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_EXIF_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what sets such an image upright; 5 to 8 swap width and height."""
UNREADABLE: Final = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on broken files."""


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key in which `2.png` comes before `10.png`; a total order over distinct names."""
    parts = re.split(r"(\d+)", name)
    key = tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p)
    return key, name


def read_image(path: Path) -> Image.Image:
    """Read an image as 8-bit RGB, upright by its EXIF orientation.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP or TIFF; see `as_rgb` for what becomes of its pixels.

    Returns
    -------
    PIL.Image.Image
        Mode RGB.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            stated = _orientation(image)
            image.load()
            # Newer Pillow turns TIFF files by itself, and then states no orientation any more.
            turn = _UPRIGHT.get(stated) if _orientation(image) == stated else None
            return as_rgb(image if turn is None else image.transpose(turn))
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Bring a picture of any mode to 8-bit RGB.

    Parameters
    ----------
    image : PIL image
        16-bit grey values are divided by 257; an alpha channel is dropped.

    Raises
    ------
    ValueError
        If the pixels are floating-point numbers, whose range nobody states.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels; expected 8 or 16 bits")
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image, dtype=np.int64) // 257, 0, 255)
        image = Image.fromarray(grey.astype(np.uint8))
    return image.convert("RGB")


def read_size(path: Path) -> tuple[int, int]:
    """Size (height, width) of an upright image from its header alone.

    Raises
    ------
    InputError
        If the file is missing, empty or no image.
    """
    try:
        with Image.open(path) as image:
            # Newer Pillow states a TIFF file's size after turning; its tags are as stored.
            tags = getattr(image, "tag_v2", None)
            width, height = (tags[256], tags[257]) if tags else image.size
            turned = _orientation(image) in (5, 6, 7, 8)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return (width, height) if turned else (height, width)


def verify_images(paths: list[Path], workers: int = 4) -> None:
    """Look every file over before long work starts.

    PNG files are checked by their checksums (every chunk is read, nothing is decoded); other
    formats, which carry none, are decoded.

    Raises
    ------
    InputError
        Naming the first file, in the order given, that is missing, truncated or no image.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(_verify, paths):
            pass


def _verify(path: Path) -> None:
    try:
        with Image.open(path) as image:
            if image.format == "PNG":
                image.verify()
            else:
                image.load()
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation as the header states it.

    The base class's method, because that of PNG files decodes the whole image in search of EXIF
    data behind the pixels.
    """
    return Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)


def unreadable(path: Path, error: Exception) -> UnreadableImageError:
    """Say what is wrong with an image file and what to do."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.EISDIR):
        error.filename = str(path)
        return UnreadableImageError(explained(error))
    if not path.exists():
        found = "no such file (or a broken link)"
    elif path.is_dir():
        found = "a folder"
    elif path.stat().st_size == 0:
        found = "an empty file"
    elif isinstance(error, UnidentifiedImageError):
        found = "a file that is not an image"
    elif isinstance(error, ValueError):
        found = f"an image that cannot be used ({error})"
    else:
        found = f"a truncated or corrupt image ({error})"
    return UnreadableImageError(
        f"{path}: found {found}; expected a readable image; replace or remove it"
    )
