"""What a data folder consists of: images, categories, and the meaning of their masks' values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Split = Literal["train", "test"]
Layout = Literal["autovi", "mvtec", "no_masks"]

GOOD: Final = "good"


@dataclass(frozen=True)
class DefectEntry:
    """One entry of `defects_config.json`: what a grey value means and when it is saturated."""

    defect_name: str
    pixel_value: int
    saturation_threshold: float
    relative_saturation: bool


DefectsConfig = dict[int, DefectEntry]
"""Grey value of a mask -> its entry."""


@dataclass(frozen=True)
class Sample:
    """One image of a data folder.

    Attributes
    ----------
    path : Path
    category : str
        The part that the image shows.
    split : "train" or "test"
    label : int
        0 = good, 1 = defective.
    defect_type : str
        Name of the test folder; "good" for good parts.
    masks : tuple of Path, or None
        Ground-truth files of a defective image (AutoVI: one a region; MVTec: one an image). Empty
        for good images. None where the category has no ground truth at all.
    """

    path: Path
    category: str
    split: Split
    label: int
    defect_type: str
    masks: tuple[Path, ...] | None = ()


@dataclass(frozen=True)
class Category:
    """A category folder: where it is, how its ground truth is laid out, what its config says."""

    name: str
    folder: Path
    layout: Layout
    defects: DefectsConfig | None = None
