"""Small data folders by hand, in the layouts that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CONFIG = [
    {
        "defect_name": "dent",
        "pixel_value": 255,
        "saturation_threshold": 0.5,
        "relative_saturation": True,
    },
    {
        "defect_name": "hole",
        "pixel_value": 200,
        "saturation_threshold": 3,
        "relative_saturation": False,
    },
]


def picture(path: Path, size: tuple[int, int] = (24, 16), seed: int = 0) -> Path:
    """Noise of (height, width) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mask(path: Path, value: int = 255, size: tuple[int, int] = (24, 16)) -> Path:
    """An RGB mask with a 2 x 3 region off the centre."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.zeros(size, dtype=np.uint8)
    grey[2:4, 9:12] = value
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(path)
    return path


def config(path: Path, entries: Any = CONFIG) -> Path:
    path.write_text(json.dumps(entries))
    return path


def autovi(root: Path, name: str = "part", nested: bool = False, train: int = 3) -> Path:
    """A category in AutoVI's layout: 3 training, 2 good and 3 defective images, 4 masks."""
    home = root / name / name if nested else root / name
    for number in range(train):
        picture(home / f"train/good/{number}.png", seed=number)
    for number in range(2):
        picture(home / f"test/good/{number}.png", seed=10 + number)
    for number in range(2):
        picture(home / f"test/dent/{number}.png", seed=20 + number)
        mask(home / f"ground_truth/dent/{number}/0000.png")
    picture(home / "test/hole/10.png", seed=30)
    mask(home / "ground_truth/hole/10/0000.png", 200)
    mask(home / "ground_truth/hole/10/0001.png", 255)
    config(home / "defects_config.json")
    return home


def mvtec(root: Path, name: str = "part") -> Path:
    """A category in MVTec's layout: 2 training, 1 good and 2 defective images."""
    home = root / name
    for number in range(2):
        picture(home / f"train/good/{number:03d}.png", seed=number)
    picture(home / "test/good/000.png", seed=10)
    for number in range(2):
        picture(home / f"test/crack/{number:03d}.png", seed=20 + number)
        mask(home / f"ground_truth/crack/{number:03d}_mask.png")
    return home
