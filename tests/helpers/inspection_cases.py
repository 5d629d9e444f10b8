"""The part that the tests here judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 72)


def draw_part(path: Path, seed: int, defect: bool = False) -> Path:
    """A grey slope with grain of 48 x 72 pixels; the defect is a checked patch, low and right."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    grain = np.random.default_rng(seed).normal(0, 3, SIZE)
    grey = 80 + columns + 0.5 * rows + grain
    if defect:
        checks = 255.0 * ((rows + columns) // 2 % 2)
        grey[32:42, 52:64] = checks[32:42, 52:64]
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert("RGB").save(path)
    return path
