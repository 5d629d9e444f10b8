"""Which defects an image is to have, and where they ended up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from common.data.synthetic.canvas import Canvas, Fragments


class Faults:
    """The order for one image and, once it is drawn, its ground truth.

    Parameters
    ----------
    wanted : sequence of str
        Defect types to draw; empty for a good image.
    rng : numpy Generator
        Draws all that concerns the defects and nothing else, so that a defective image is
        otherwise the very image it would have been without its defects.

    Attributes
    ----------
    regions : list of (str, array of shape (H, W), bool)
        Type and place of each defect drawn, in order; filled by `mark`.
    """

    def __init__(self, wanted: Sequence[str], rng: np.random.Generator) -> None:
        self.wanted = tuple(wanted)
        self.rng = rng
        self.regions: list[tuple[str, NDArray[np.bool_]]] = []

    def has(self, defect_type: str) -> bool:
        """Whether this type is to be drawn."""
        return defect_type in self.wanted

    def variant(self, defect_type: str, choices: int) -> int:
        """Which of several forms a defect takes, or -1 where it is not wanted."""
        return int(self.rng.integers(choices)) if self.has(defect_type) else -1

    def mark(self, defect_type: str, canvas: Canvas, shapes: Iterable[Fragments]) -> None:
        """Note a defect where the shapes lie, drawn or (for a missing part) not drawn."""
        self.regions.append((defect_type, canvas.mask(shapes)))
