"""The six categories: sizes, defect types, counts, saturation, and who draws them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.data.synthetic.canvas import Canvas
from common.data.synthetic.engine import draw_engine_wiring
from common.data.synthetic.faults import Faults
from common.data.synthetic.pipes import draw_pipe_clip, draw_pipe_staple
from common.data.synthetic.tank import draw_tank_screw
from common.data.synthetic.underbody import draw_underbody_pipes, draw_underbody_screw

_SMALL_SIDE = 400  # pixels of AutoVI's square pictures, to which the large ones are in proportion
_LARGE = (750, 1000)
_GOOD_SHARE = 0.6  # good test images per training image in a set of chosen size


@dataclass(frozen=True)
class DefectType:
    """One test folder with defects.

    Attributes
    ----------
    name : str
        Folder name.
    share : float
        Images per training image in a set of chosen size, where at least two are drawn.
    autovi_count : int
        Images of it in AutoVI 1.0.0.
    relative : float
        Saturation as a share of a region's area; 0 where `absolute` is used.
    absolute : float
        Saturation as a share of the picture's area, written as a number of pixels.
    combines : tuple of tuple of str
        For images with several regions: the types that go together, taken in turn.
    """

    name: str
    share: float
    autovi_count: int
    relative: float = 0.0
    absolute: float = 0.0
    combines: tuple[tuple[str, ...], ...] = ()

    def types_of_image(self, number: int) -> tuple[str, ...]:
        """Types of the regions to draw in image `number` of this folder."""
        return self.combines[number % len(self.combines)] if self.combines else (self.name,)


@dataclass(frozen=True)
class Category:
    """One kind of part.

    Attributes
    ----------
    name : str
        AutoVI's name.
    large : bool
        Whether pictures are 1000x750 (width x height) in AutoVI, else 400x400.
    draw : callable
        Draws one image on an empty canvas.
    autovi_train, autovi_test_good : int
        Good images in AutoVI 1.0.0.
    defects : tuple of DefectType
    """

    name: str
    large: bool
    draw: Callable[[Canvas, np.random.Generator, Faults], None]
    autovi_train: int
    autovi_test_good: int
    defects: tuple[DefectType, ...]

    def image_size(self, side: int) -> tuple[int, int]:
        """(height, width) where small categories are `side` pixels square."""
        if not self.large:
            return (side, side)
        return (round(_LARGE[0] * side / _SMALL_SIDE), round(_LARGE[1] * side / _SMALL_SIDE))

    def counts(self, images: int, like_autovi: bool) -> dict[str, int]:
        """Images by folder: `train/good`, `test/good` and `test/<defect type>`."""
        if like_autovi:
            good = {"train/good": self.autovi_train, "test/good": self.autovi_test_good}
            return good | {f"test/{d.name}": d.autovi_count for d in self.defects}
        good = {"train/good": images, "test/good": max(1, round(_GOOD_SHARE * images))}
        return good | {f"test/{d.name}": max(2, round(d.share * images)) for d in self.defects}

    def defects_config(self, side: int) -> list[dict[str, str | int | float | bool]]:
        """Entries of `defects_config.json`; types that only combine others have no grey value."""
        height, width = self.image_size(side)
        entries: list[dict[str, str | int | float | bool]] = []
        for defect in self.defects:
            if defect.combines:
                continue
            pixels = max(1, round(defect.absolute * height * width))
            relative = defect.relative > 0.0
            entries.append(
                {
                    "defect_name": defect.name,
                    "pixel_value": 255 - len(entries),
                    "saturation_threshold": defect.relative if relative else pixels,
                    "relative_saturation": relative,
                }
            )
        return entries


CATEGORIES = (
    Category(
        "engine_wiring",
        False,
        draw_engine_wiring,
        285,
        285,
        (
            DefectType("fastening", 0.3, 277, relative=0.5),
            DefectType("blue_hoop", 0.15, 5, absolute=0.006),
            DefectType("cardboard", 0.15, 5, relative=0.6),
            DefectType("obstruction", 0.15, 2, absolute=0.012),
            DefectType(
                "multiple",
                0.15,
                33,
                combines=(
                    ("fastening", "cardboard"),
                    ("blue_hoop", "fastening"),
                    ("fastening", "obstruction"),
                    ("cardboard", "obstruction"),
                ),
            ),
        ),
    ),
    Category(
        "pipe_clip",
        False,
        draw_pipe_clip,
        195,
        195,
        (
            DefectType("unclipped", 0.3, 141, absolute=0.020),
            DefectType("operator", 0.1, 1, relative=0.7),
        ),
    ),
    Category(
        "pipe_staple",
        False,
        draw_pipe_staple,
        191,
        188,
        (DefectType("missing", 0.3, 117, relative=0.5),),
    ),
    Category(
        "tank_screw",
        True,
        draw_tank_screw,
        318,
        318,
        (DefectType("missing", 0.3, 95, absolute=0.005),),
    ),
    Category(
        "underbody_pipes",
        True,
        draw_underbody_pipes,
        161,
        161,
        (
            DefectType("obstruction", 0.3, 180, absolute=0.010),
            DefectType("operator", 0.1, 3, relative=0.7),
            DefectType("multiple", 0.1, 1, combines=(("obstruction", "operator"),)),
        ),
    ),
    Category(
        "underbody_screw",
        True,
        draw_underbody_screw,
        373,
        374,
        (DefectType("missing", 0.2, 18, relative=0.8),),
    ),
)
