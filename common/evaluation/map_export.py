"""Anomaly maps as 16-bit PNG files that other evaluations can read."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.errors import InputError
from common.evaluation.pixels import checked_map
from common.paths import beside
from common.system.files import naming, replacing, write_whole

SCALE_FILE = "scale.json"
HIGHEST_CODE = 2**16 - 1


@dataclass(frozen=True)
class MapScale:
    """How the pixels of exported maps stand for scores: score = lowest + step x pixel."""

    lowest: float
    step: float

    def encode(self, scores: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Pixels (H, W) of scores (H, W); off by half a step at most."""
        if self.step == 0:
            return np.zeros(scores.shape, dtype=np.uint16)
        codes = np.rint((scores.astype(np.float64) - self.lowest) / self.step)
        return np.clip(codes, 0, HIGHEST_CODE).astype(np.uint16)

    def decode(self, pixels: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores (H, W) of pixels (H, W)."""
        return (self.lowest + self.step * pixels.astype(np.float64)).astype(np.float32)


class MapExporter:
    """Writes the maps of one category as `FOLDER/<category>/test/<defect>/<stem>.png`.

    All maps of the category share one scale, stored in `FOLDER/<category>/scale.json`. It is
    known only after the last map, so maps wait as float32 files in a hidden folder beside it;
    nothing shows under the category's name before `close`. As a context manager it closes at the
    end, or discards everything if an error passes through.

    Parameters
    ----------
    folder : Path
        Made if missing.
    category : str
        An earlier export of the same category is replaced.

    Raises
    ------
    InputError
        If the category's folder exists and is not an earlier export.

    Notes
    -----
    Memory: a few maps. Disk while open: 4 bytes a pixel.

    Scaling each map by itself would make scores of different images incomparable; every measure
    over more than one image would be lost.
    """

    def __init__(self, folder: Path, category: str) -> None:
        self._target = Path(folder) / _file_name(category)
        if self._target.exists() and not (self._target / SCALE_FILE).is_file():
            raise InputError(
                f"{self._target}: exists and is no export of maps (it has no {SCALE_FILE}); "
                "give another folder to export to"
            )
        self._staging = beside(self._target, f".{os.getpid()}", prefix=".")
        self._discard()
        (self._staging / "waiting").mkdir(parents=True)
        self._names: dict[tuple[str, str], None] = {}
        self._lowest, self._highest = np.inf, -np.inf

    def add(self, defect_type: str, stem: str, anomaly_map: NDArray[Any]) -> None:
        """Take in one map (H, W); `defect_type` is its test folder, `stem` its file name.

        Raises
        ------
        ValueError
            If the map is not finite or not two-dimensional, a name cannot be a file's, or the
            same names were added before.
        """
        scores = checked_map(anomaly_map)
        name = (_file_name(defect_type), _file_name(stem))
        if name in self._names:
            raise ValueError(f"the map of {defect_type}/{stem} was added twice")
        self._lowest = min(self._lowest, float(scores.min()))
        self._highest = max(self._highest, float(scores.max()))
        waiting = self._waiting(len(self._names))
        with naming(waiting):
            np.save(waiting, scores)
        self._names[name] = None

    def close(self) -> MapScale:
        """Write the maps and the scale, and let them appear under the category's name."""
        lowest = self._lowest if self._names else 0.0
        highest = self._highest if self._names else 0.0
        scale = MapScale(lowest, (highest - lowest) / HIGHEST_CODE)
        for number, (defect_type, stem) in enumerate(self._names):
            waiting = self._waiting(number)
            path = self._staging / "test" / defect_type / f"{stem}.png"
            with replacing(path) as file:
                Image.fromarray(scale.encode(np.load(waiting))).save(file, format="PNG")
            waiting.unlink()
        (self._staging / "waiting").rmdir()
        content = json.dumps({"format": 1, **asdict(scale), "maps": len(self._names)}, indent=2)
        write_whole(self._staging / SCALE_FILE, content + "\n")
        if self._target.exists():
            shutil.rmtree(self._target)
        self._staging.rename(self._target)
        return scale

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._discard()

    def _waiting(self, number: int) -> Path:
        return self._staging / "waiting" / f"{number}.npy"

    def _discard(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)


def _file_name(name: str) -> str:
    """The name itself, if it can only be that of a file in its folder."""
    if not name or name.startswith(".") or any(mark in name for mark in "/\\\0"):
        raise ValueError(f"{name!r} cannot be the name of a file or folder")
    return name
