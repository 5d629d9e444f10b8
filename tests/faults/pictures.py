"""Files that the makers of several kinds write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from inspection_cases import SIZE
from numpy.typing import NDArray
from PIL import Image


def draw_mask(path: Path, value: int = 255, size: tuple[int, int] = SIZE) -> Path:
    """The mask of `draw_part`'s defect: rows 32 to 41, columns 52 to 63."""
    grey = np.zeros(size, np.uint8)
    grey[32:42, 52:64] = value
    return write(path, grey)


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def pixels(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image).copy()


def cut_short(path: Path) -> Path:
    """Without its last third, as after a copy that broke off."""
    whole = path.read_bytes()
    path.write_bytes(whole[: 2 * len(whole) // 3])
    return path
