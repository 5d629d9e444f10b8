"""What is inside the image files: each is decoded once, several side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.images import as_rgb, open_picture, orientation, set_upright, stored_bits
from common.errors import InputError

Progress = Callable[[int, int], None]
_GREY_MODES = frozenset({"1", "L", "LA", "I", "F"})


@dataclass(frozen=True)
class ImageFacts:
    """What one image file holds.

    Attributes
    ----------
    size : (height, width)
        Of the upright image.
    grey : bool
        Whether the file stores no colour.
    format : str
        As its bytes say, whatever its name says: PNG, JPEG, ...
    digest : str
        Sha256 (hex) of size and pixels: equal for equal pictures in different files.
    uniform : bool
        Whether all pixels are alike, as of a camera with its cap on.
    bits : int
        Of a colour channel in the file.
    brightest : int
        Largest grey value from 0 to 255, as the network sees the image.
    orientation : int
        By EXIF; 1 is upright.
    error : InputError or None
        Why it cannot be read; the other fields then mean nothing.
    """

    size: tuple[int, int] = (0, 0)
    grey: bool = False
    format: str = ""
    digest: str = ""
    uniform: bool = False
    bits: int = 8
    brightest: int = 255
    orientation: int = 1
    error: InputError | None = None


def read_facts(
    paths: Sequence[Path], workers: int = 4, progress: Progress | None = None
) -> dict[Path, ImageFacts]:
    """Decode every file. Peak memory: `workers` decoded images."""
    found: dict[Path, ImageFacts] = {}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for path, facts in zip(paths, pool.map(_read, paths), strict=True):
            found[path] = facts
            if progress is not None:
                progress(len(found), len(paths))
    return found


def _read(path: Path) -> ImageFacts:
    try:
        with open_picture(path) as image:
            kind, mode, bits = image.format or "", image.mode, stored_bits(image)
            turned = orientation(image)
            pixels = np.asarray(as_rgb(set_upright(image), bits))
    except InputError as error:
        return ImageFacts(error=error)
    return ImageFacts(
        size=(pixels.shape[0], pixels.shape[1]),
        grey=mode in _GREY_MODES or mode.startswith("I;"),
        format=kind,
        digest=hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest(),
        uniform=bool((pixels == pixels[0, 0]).all()),
        bits=bits,
        brightest=int(pixels.max()),
        orientation=turned,
    )
