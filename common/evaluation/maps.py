"""Anybody's anomaly maps, read from a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.data.leftovers import is_leftover
from common.data.names import find_spelling, normal
from common.errors import InputError
from common.evaluation.map_export import SCALE_FILE, MapScale

MAP_SUFFIXES = (".png", ".tif", ".tiff", ".npy")

_MODES = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B")


def find_maps(folder: Path, category: str) -> dict[tuple[str, str], Path]:
    """Maps of a category by defect folder and file stem.

    Parameters
    ----------
    folder : Path
        Holds `<category>/test/<defect>/<stem>.png`, `.tif`, `.tiff` or `.npy`.
    category : str

    Returns
    -------
    dict of (defect, stem) to Path
        In alphabetical order; other files are passed over.

    Raises
    ------
    InputError
        If the folder or every map is missing, or an image has two maps.
    """
    root = find_spelling(Path(folder), category) / "test"
    expected = f"expected {root}/<defect>/<stem>.png, .tif, .tiff or .npy"
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder of anomaly maps; {expected}")
    maps: dict[tuple[str, str], Path] = {}
    for path in sorted(root.glob("*/*")):
        if path.suffix.lower() not in MAP_SUFFIXES:
            continue
        if is_leftover(path.name) or is_leftover(path.parent.name):
            continue
        name = (normal(path.parent.name), normal(path.stem))
        if name in maps:
            raise InputError(f"{path}: {maps[name].name} is a map of the same image; keep one")
        maps[name] = path
    if not maps:
        raise InputError(f"{root}: holds no anomaly map; {expected}")
    return maps


def read_map(
    path: Path, *, size: tuple[int, int] | None = None, scale: MapScale | None = None
) -> NDArray[np.float32]:
    """Read one anomaly map.

    Parameters
    ----------
    path : Path
        A PNG or TIFF of 8 or 16 bits, a TIFF of float32, or a NumPy array.
    size : (height, width), optional
        Size of the image file; maps are never resized.
    scale : MapScale, optional
        From `read_scale`; turns the pixels of an exported PNG back into scores. Ignored for other
        files.

    Returns
    -------
    array of shape (H, W), float32

    Raises
    ------
    InputError
        If the file cannot be read, has colours or more than one layer, another size, or a value
        that is not finite.
    """
    path = Path(path)
    try:
        raw = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else _pixels(path)
    except InputError:
        raise
    # Pillow and NumPy raise many types on broken files, among them SyntaxError and EOFError.
    except Exception as error:
        raise InputError(f"{path}: cannot be read as an anomaly map ({error})") from error
    if raw.dtype.kind not in "buif":
        raise InputError(f"{path}: holds values of type {raw.dtype}, expected numbers")
    if raw.ndim == 3 and 1 in (raw.shape[0], raw.shape[2]):  # as some methods save them
        raw = raw[0] if raw.shape[0] == 1 else raw[:, :, 0]
    if raw.ndim != 2 or raw.size == 0:
        raise InputError(f"{path}: has shape {raw.shape}, expected (height, width)")
    if size is not None and raw.shape != tuple(size):
        raise InputError(
            f"{path}: the map is {raw.shape[0]} high and {raw.shape[1]} wide, its image "
            f"{size[0]} high and {size[1]} wide; bring maps to the size of the image file"
        )
    scores = raw.astype(np.float32)
    if not np.isfinite(scores).all():
        raise InputError(f"{path}: holds a value that is not finite as float32")
    if scale is not None and path.suffix.lower() == ".png":
        return scale.decode(scores)
    return scores


def read_scale(folder: Path, category: str) -> MapScale | None:
    """The scale stored beside exported maps of a category, None if there is none.

    Raises
    ------
    InputError
        If the file is there and broken.
    """
    path = find_spelling(Path(folder), category) / SCALE_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        scale = MapScale(float(content["lowest"]), float(content["step"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: holds no scale of maps (lowest, step); export the maps again"
        ) from error
    if not (math.isfinite(scale.lowest) and math.isfinite(scale.step) and scale.step >= 0):
        raise InputError(f"{path}: the scale is not finite or runs backwards; export again")
    return scale


def _pixels(path: Path) -> NDArray[Any]:
    """Pixels of a picture with one channel."""
    with Image.open(path) as image:
        if image.mode not in _MODES:
            raise InputError(
                f"{path}: has colour mode {image.mode}, expected one grey channel of scores"
            )
        pages = getattr(image, "n_frames", 1)
        if pages != 1:
            raise InputError(f"{path}: has {pages} pages, expected one")
        return np.asarray(image)
