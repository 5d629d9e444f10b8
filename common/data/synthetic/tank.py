"""tank_screw: the nut on a stud that holds the strap of a fuel tank."""

from __future__ import annotations

import numpy as np

from common.data.synthetic.canvas import Canvas
from common.data.synthetic.faults import Faults
from common.data.synthetic.light import Material
from common.data.synthetic.screws import hex_nut, threaded_hole
from common.data.synthetic.shapes import Point, tube
from common.data.synthetic.surfaces import (
    STEEL,
    ZINC,
    bead,
    block,
    coated,
    corrugated,
    ellipse,
    hole,
    recess,
    scratches,
)

_TANK = Material((0.175, 0.18, 0.19), specular=0.25, shininess=14.0)
_STRAP = Material((0.60, 0.61, 0.60), specular=0.3, shininess=30.0, metal=0.45)


def draw_tank_screw(canvas: Canvas, rng: np.random.Generator, faults: Faults) -> None:
    """Draw a moulded tank, its steel strap and the nut, or the bare threaded hole."""
    coated(canvas, rng, _TANK)
    for x in (0.10, 0.27, 0.44):
        bead(canvas, [(x, -0.1), (x + 0.01, 0.24), (x, 0.36)], 0.036, 1.0)
    recess(canvas, (0.98, 0.14), (0.27, 0.085), angle=0.03, depth=1.0)
    recess(canvas, (0.24, 0.82), (0.20, 0.10), angle=-0.05, depth=-1.0)
    sway = [float(value) for value in rng.uniform(-0.014, 0.014, size=6)]
    hose: list[Point] = [(0.60 + sway[0], 1.06), (0.66, 0.86), (0.86, 0.80), (1.42, 0.86 + sway[1])]
    black = Material((0.09, 0.09, 0.10), specular=0.4, shininess=25.0)
    corrugated(canvas, hose, 0.055, black, 0.032)
    turn = float(rng.uniform(0.0, np.pi / 3.0))
    tilt = 0.30 + 0.5 * sway[2]
    course: list[Point] = [(x, 0.48 + tilt * (x - 0.667)) for x in (-0.06, 0.667, 1.40)]
    band = tube(canvas, course, 0.105, flat=9.0, steepness=0.6)
    streaks = canvas.noise(rng, (120.0, 30.0))[band.index]
    rust = 0.35 * np.clip(canvas.noise(rng, (9.0, 9.0))[band.index] - 0.6, 0.0, 1.0)
    steel = _STRAP.tinted(1.0 + 0.05 * streaks)
    steel *= 1.0 - np.array([[0.10], [0.28], [0.42]], dtype=np.float32) * rust
    canvas.paint(band, _STRAP, albedo=steel, lift=0.03)
    for offset in (-0.062, 0.062):
        inner = [(x, y + offset) for x, y in course]
        bead(canvas, inner, 0.014, 0.8)
    scratches(canvas, rng, 6)
    hole(canvas, ellipse((0.30, 0.37 + sway[3]), (0.045, 0.026), angle=tilt), 0.010, STEEL)
    centre: Point = (0.885 + sway[4], 0.48 + tilt * (0.885 + sway[4] - 0.667))
    block(canvas, centre, (0.135, 0.095), ZINC, angle=tilt, lift=0.015)
    if faults.has("missing"):
        faults.mark("missing", canvas, [threaded_hole(canvas, centre, 0.076, ZINC)])
    else:
        hex_nut(canvas, centre, 0.076, ZINC, turn)
