"""Reading image files: size from the header, pixels as RGB, one clear error for what is broken."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from common.data.frames import count_pictures
from common.data.names import normal
from common.errors import UnreadableImageError, explained

IMAGE_FORMATS: Final = {
    ".bmp": ("BMP",),
    ".jpeg": ("JPEG", "MPO"),
    ".jpg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
}
"""How the names of image files end, and what files of that name hold, in Pillow's words."""
IMAGE_ENDINGS: Final = ", ".join(IMAGE_FORMATS)
OTHER_PICTURES: Final = re.compile(
    r"\.(arw|avif|cr[23]|dng|exr|gif|hei[cf]|jfif|jp2|jxl|nef|orf|p[bgp]m|psd|ra[fw]|rw2|tga|webp)$",
    re.IGNORECASE,
)
"""Endings of pictures that are not read: nobody puts one there to be passed over."""
_READ: Final = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "GIF")
"""What is read whatever the file is called; layers, icons and page descriptions are not."""
_EXIF_ORIENTATION: Final = 0x0112
QUARTERS: Final = frozenset((5, 6, 7, 8))
"""EXIF orientations that swap width and height."""
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what sets such an image upright."""
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


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image; its bytes may say otherwise."""
    return os.path.splitext(name)[1].lower() in IMAGE_FORMATS


def is_picture_name(name: str) -> bool:
    """Whether a file of this name is a picture, be it one that is not read."""
    return is_image_name(name) or bool(OTHER_PICTURES.search(name))


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key in which `2.png` comes before `10.png`; a total order over distinct names."""
    parts = re.split(r"(\d+)", normal(name))
    key = tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p)
    return key, name


@contextlib.contextmanager
def open_picture(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open a file that holds one picture; nothing is decoded yet.

    Parameters
    ----------
    path : Path

    Yields
    ------
    PIL.Image.Image
        As it is stored: `set_upright` turns it.

    Raises
    ------
    InputError
        If the file is missing, empty or no image, holds several pictures or is no file but a
        pipe; also for what a decoder says of it while it is open.
    """
    if OTHER_PICTURES.search(path.name):
        raise UnreadableImageError(
            f"{path}: pictures of this kind ({path.suffix}) are not read; expected a file that "
            f"ends in one of {IMAGE_ENDINGS}; save it as .png"
        )
    try:
        require_file(path)
        with Image.open(path, formats=_READ) as image:
            pictures = count_pictures(image)
            if pictures != 1:
                raise UnreadableImageError(
                    f"{path}: found {pictures} pictures in one {image.format} file; expected one, "
                    "as nobody would judge the others; save each as a file of its own"
                )
            yield image
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def require_file(path: Path) -> None:
    """Refuse what only looks like a file: opening a pipe waits until somebody writes to it.

    Raises
    ------
    OSError
        If it is a pipe, a socket or a device, or there is nothing of this name.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a pipe, socket or device, no file", str(path))


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
        If the file is missing, empty, truncated or no image, or holds more than one picture.
    """
    with open_picture(path) as image:
        bits = stored_bits(image)
        return as_rgb(set_upright(image), bits)


def set_upright(image: Image.Image) -> Image.Image:
    """Decode an opened picture, and turn it as its EXIF orientation says."""
    stated = orientation(image)
    image.load()
    # Newer Pillow turns TIFF files by itself, and then states no orientation any more.
    turn = _UPRIGHT.get(stated) if orientation(image) == stated else None
    return image if turn is None else image.transpose(turn)


def stored_bits(image: ImageFile.ImageFile) -> int:
    """Bits of a colour channel in the file, before it is decoded: 8 where that is all or less."""
    layouts = " ".join(str(tile[3]) for tile in image.tile)
    found = re.search(r";(12|16|32)", layouts)
    if found is not None:
        return int(found[1])
    return 16 if image.mode.startswith("I") else 8


def as_rgb(image: Image.Image, bits: int = 16) -> Image.Image:
    """Bring a picture of any mode to 8-bit RGB.

    Parameters
    ----------
    image : PIL image
        16-bit grey values are divided by 257; an alpha channel is dropped.
    bits : int
        How many bits a grey value has in the file; only 12 makes a difference.

    Raises
    ------
    ValueError
        If the pixels are floating-point numbers, whose range nobody states, or whole ones outside
        the range of 16 bits.
    """
    if image.mode == "F":
        raise ValueError("floating-point pixels where 8 or 16 bits are expected")
    if image.mode.startswith("I"):
        values = np.asarray(image, dtype=np.int64)
        top = 4095 if bits == 12 else 65535
        if values.size and not (values.min() >= 0 and values.max() <= top):
            raise ValueError(
                f"values from {values.min()} to {values.max()} where 0 to {top} are expected"
            )
        image = Image.fromarray((values * 255 // top).astype(np.uint8))
    return image.convert("RGB")


def read_size(path: Path) -> tuple[int, int]:
    """Size (height, width) of an upright image from its header alone.

    Raises
    ------
    InputError
        If the file is missing, empty or no image.
    """
    with open_picture(path) as image:
        # Newer Pillow states a TIFF file's size after turning; its tags are as stored.
        tags = getattr(image, "tag_v2", None)
        width, height = (tags[256], tags[257]) if tags else image.size
        turned = orientation(image) in QUARTERS
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
    with open_picture(path) as image:
        if image.format == "PNG":
            image.verify()
        else:
            image.load()


def orientation(image: Image.Image) -> int:
    """EXIF orientation as the header states it.

    The base class's method, because that of PNG files decodes the whole image in search of EXIF
    data behind the pixels.
    """
    return Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)


def unreadable(path: Path, error: Exception) -> UnreadableImageError:
    """Say what is wrong with an image file and what to do."""
    here = (None, errno.ENOENT, errno.EISDIR, errno.EINVAL)  # what is said of these is below
    if isinstance(error, OSError) and error.errno not in here:
        error.filename = str(path)
        return UnreadableImageError(explained(error))
    expected, mend = "a readable image", "copy the file again or remove it"
    if isinstance(error, Image.DecompressionBombError):
        found = "an image of too many pixels"
        expected = f"at most {2 * (Image.MAX_IMAGE_PIXELS or 0)}"
        mend = "scale it down or cut it into parts"
    elif not path.exists():
        found = "no such file (or a broken link)"
    elif path.is_dir():
        found = "a folder"
    elif not path.is_file():
        found, mend = "a pipe, socket or device", "remove it"
    elif path.stat().st_size == 0:
        found = "an empty file"
    elif isinstance(error, UnidentifiedImageError):
        found = "a file that is not an image of a kind that is read"
    elif isinstance(error, ValueError):
        found, mend = f"an image that cannot be used ({error})", "save it anew in another format"
    else:
        found = f"a truncated or corrupt image ({error})"
    return UnreadableImageError(f"{path}: found {found}; expected {expected}; {mend}")
