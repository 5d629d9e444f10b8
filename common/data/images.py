"""Reading image files: size from the header, pixels as RGB, one clear error for what is broken."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.errors import InputError

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_EXIF_ORIENTATION: Final = 0x0112


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key in which `2.png` comes before `10.png`; a total order over distinct names."""
    parts = re.split(r"(\d+)", name)
    key = tuple((0, int(p), p) if p.isdigit() else (1, 0, p) for p in parts if p)
    return (*key, (2, 0, name))


def read_image(path: Path) -> Image.Image:
    """Read an image as 8-bit RGB, upright by its EXIF orientation.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP or TIFF. 16-bit grey values are divided by 257; an alpha channel is dropped.

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
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                grey = np.clip(np.asarray(upright, dtype=np.int64) // 257, 0, 255)
                upright = Image.fromarray(grey.astype(np.uint8))
            return upright.convert("RGB")
    except _UNREADABLE as error:
        raise unreadable(path, error) from error


def read_size(path: Path) -> tuple[int, int]:
    """Size (height, width) of an upright image from its header alone.

    Raises
    ------
    InputError
        If the file is missing, empty or no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
    except _UNREADABLE as error:
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
    except _UNREADABLE as error:
        raise unreadable(path, error) from error


_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
)


def unreadable(path: Path, error: Exception) -> InputError:
    """Say what is wrong with an image file and what to do."""
    if not path.exists():
        found = "no such file (or a broken link)"
    elif path.is_dir():
        found = "a folder"
    elif path.stat().st_size == 0:
        found = "an empty file"
    elif isinstance(error, UnidentifiedImageError):
        found = "a file that is not an image"
    elif isinstance(error, PermissionError):
        found = "a file that may not be read (permissions)"
    else:
        found = f"a truncated or corrupt image ({error})"
    return InputError(f"{path}: found {found}; expected a readable image; replace or remove it")
