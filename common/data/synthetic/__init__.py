"""The synthetic data set: drawings of six parts, shaped like AutoVI and always called synthetic.

A scene is painted on an oversampled canvas from shapes with slopes, lit by one lamp (`light`,
`canvas`, `shapes`, `surfaces`, `screws`); the parts are in `engine`, `pipes`, `tank` and
`underbody`, what does not belong there in `foreign`; `camera` makes it a photograph, `catalog` says
what there is, `write` lays it out in folders.
"""

from common.data.synthetic.catalog import CATEGORIES, Category, DefectType
from common.data.synthetic.image import SyntheticImage, draw_image
from common.data.synthetic.write import write_synthetic

__all__ = [
    "CATEGORIES",
    "Category",
    "DefectType",
    "SyntheticImage",
    "draw_image",
    "write_synthetic",
]
