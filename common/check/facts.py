"""What is inside the image files: each is decoded once, several side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.fault import found_at
from common.data.images import UNREADABLE, read_image, unreadable
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
    error : str or None
        Why it cannot be read; the other fields then mean nothing.
    """

    size: tuple[int, int] = (0, 0)
    grey: bool = False
    format: str = ""
    digest: str = ""
    uniform: bool = False
    error: str | None = None


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
        with Image.open(path) as image:
            kind, mode = image.format or "", image.mode
        pixels = np.asarray(read_image(path))
    except InputError as error:
        return ImageFacts(error=found_at(path, error))
    except UNREADABLE as error:
        return ImageFacts(error=found_at(path, unreadable(path, error)))
    digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    grey = mode in _GREY_MODES or mode.startswith("I;")
    uniform = bool((pixels == pixels[0, 0]).all())
    return ImageFacts((pixels.shape[0], pixels.shape[1]), grey, kind, digest, uniform)
