"""Write the synthetic data set in AutoVI's layout."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.data.synthetic.catalog import CATEGORIES, Category
from common.data.synthetic.image import SyntheticImage, draw_image
from common.errors import InputError
from common.paths import beside
from common.system.files import naming, write_whole

VERSION = 1  # of the drawings: the same seed and version give the same bytes
_SMALLEST = 32
_AUTOVI_SIDE = 400
_NOTE = "These images are drawings made by a program; no part, plant or camera was involved."


def write_synthetic(
    root: Path,
    *,
    images: int = 20,
    size: int = 128,
    seed: int = 42,
    like_autovi: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Draw six AutoVI-shaped categories with their ground truth.

    Parameters
    ----------
    root : Path
        Folder to make; it may exist if it is empty. Its parents are made.
    images : int
        Training images per category; test images follow in proportion, at least two of each
        defect type.
    size : int
        Side in pixels of the small categories (AutoVI: 400x400); the large ones (1000x750) are in
        proportion: 128 gives 128x128 and 320x240.
    seed : int
        At least 0. The same seed gives the same bytes.
    like_autovi : bool
        True sizes and counts of AutoVI 1.0.0; `images` and `size` are ignored.
    progress : callable, optional
        Called with (images written, images in all) after each image.

    Returns
    -------
    dict
        What `synthetic.json` holds, and `categories`: by name the image size (height, width), the
        counts by folder (`train/good`, `test/good`, `test/<defect type>`) and the regions.

    Raises
    ------
    InputError
        If `root` is a file or holds something, or a number is out of range.
    OSError
        If the system refuses; nothing half written stays.

    Notes
    -----
    All is written into a folder beside `root` that is renamed at the end: there is never half a
    data set. Like AutoVI's images about 1 s each at full size, a few hundredths at 128 pixels.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from common.data.synthetic import write_synthetic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     about = write_synthetic(Path(folder), images=2, size=32)
    >>> about["categories"]["pipe_staple"]["counts"]
    {'train/good': 2, 'test/good': 1, 'test/missing': 2}
    >>> about["categories"]["tank_screw"]["size"]
    [60, 80]
    """
    root = Path(root).resolve()
    _check(root, images, size, seed)
    side = _AUTOVI_SIDE if like_autovi else size
    plans = [category.counts(images, like_autovi) for category in CATEGORIES]
    total = sum(sum(plan.values()) for plan in plans)
    about: dict[str, Any] = {
        "synthetic": True,
        "seed": seed,
        "size": side,
        "images": None if like_autovi else images,
        "like_autovi": like_autovi,
        "version": VERSION,
        "note": _NOTE,
    }
    partial = beside(root, f".{uuid.uuid4().hex[:8]}.partial", prefix=".")
    try:
        partial.mkdir(parents=True)
        summary: dict[str, Any] = {}
        done = 0
        for index, (category, plan) in enumerate(zip(CATEGORIES, plans, strict=True)):
            home = partial / category.name
            regions = 0
            home.mkdir()
            _write_json(home / "defects_config.json", category.defects_config(side))
            for folder, count in plan.items():
                (home / folder).mkdir(parents=True)
                for number in range(count):
                    image = draw_image(index, folder, number, size=side, seed=seed)
                    _write_image(home, category, folder, number, image)
                    regions += len(image.regions)
                    done += 1
                    if progress is not None:
                        progress(done, total)
            height, width = category.image_size(side)
            summary[category.name] = {
                "size": [height, width],
                "counts": dict(plan),
                "regions": regions,
            }
        _write_json(partial / "synthetic.json", about)
        if root.exists():
            root.rmdir()
        os.rename(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return about | {"categories": summary}


def _check(root: Path, images: int, size: int, seed: int) -> None:
    """Refuse what cannot be drawn or would be overwritten."""
    if images < 1:
        raise InputError(f"images is {images}; a data set needs at least 1 per category")
    if size < _SMALLEST:
        raise InputError(f"size is {size} pixels; parts are visible from {_SMALLEST} pixels up")
    if seed < 0:
        raise InputError(f"seed is {seed}; give a whole number from 0 up")
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; give a new or empty folder for the data set")
    if root.is_dir() and any(root.iterdir()):
        raise InputError(f"{root} is not empty; nothing is overwritten, give a new or empty folder")
    if root.is_mount():
        # A mounted volume cannot be replaced by the finished folder.
        raise InputError(f"{root} is a mounted volume; give a new folder inside it")


def _write_image(
    home: Path, category: Category, folder: str, number: int, image: SyntheticImage
) -> None:
    """Save one image and a mask per region."""
    name = f"{number:04d}"
    _write_png(home / folder / f"{name}.png", image.pixels)
    if not image.regions:
        return
    values = {
        str(entry["defect_name"]): int(entry["pixel_value"])
        for entry in category.defects_config(_AUTOVI_SIDE)
    }
    truth = home / "ground_truth" / folder.removeprefix("test/") / name
    truth.mkdir(parents=True)
    for place, (defect_type, mask) in enumerate(image.regions):
        grey = np.where(mask, values[defect_type], 0).astype(np.uint8)
        _write_png(truth / f"{place:04d}.png", np.repeat(grey[..., None], 3, axis=2))


def _write_png(path: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Save lossless; a low level, as sensor noise hardly compresses."""
    with naming(path):
        Image.fromarray(pixels).save(path, "PNG", compress_level=2)


def _write_json(path: Path, content: object) -> None:
    """Save readable text."""
    write_whole(path, json.dumps(content, indent=2) + "\n")
