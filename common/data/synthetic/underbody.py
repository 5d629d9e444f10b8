"""underbody_pipes and underbody_screw: what one sees from the pit, looking up at the floor pan."""

from __future__ import annotations

import numpy as np

from common.data.synthetic.canvas import Canvas
from common.data.synthetic.faults import Faults
from common.data.synthetic.foreign import hand, obstruction
from common.data.synthetic.light import Material
from common.data.synthetic.screws import threaded_hole, torx_screw
from common.data.synthetic.shapes import Point, box, polygon, tube
from common.data.synthetic.surfaces import (
    BLACK_PLASTIC,
    STEEL,
    ZINC,
    bead,
    block,
    coated,
    ellipse,
    hole,
    recess,
    scratches,
    wire,
)

_PIPES = (
    Material((0.11, 0.115, 0.12), specular=0.55, shininess=30.0),
    Material((0.72, 0.73, 0.74), specular=0.5, shininess=45.0, metal=0.6),
    Material((0.13, 0.30, 0.22), specular=0.5, shininess=35.0),
    Material((0.60, 0.61, 0.58), specular=0.45, shininess=35.0, metal=0.3),
    Material((0.14, 0.14, 0.155), specular=0.45, shininess=25.0),
)


def draw_underbody_pipes(canvas: Canvas, rng: np.random.Generator, faults: Faults) -> None:
    """Draw five pipes in two holders along the floor pan."""
    grain = 0.6 * canvas.noise(rng, (150.0, 150.0))
    coated(canvas, rng, Material((0.50, 0.51, 0.50)))
    recess(canvas, (0.22, 0.10), (0.17, 0.055), depth=0.8)
    recess(canvas, (1.02, 0.90), (0.24, 0.050), depth=0.8)
    bead(canvas, [(-0.1, 0.93), (0.5, 0.94), (0.7, 0.95)], 0.030, 0.6)
    bead(canvas, [(0.55, 0.07), (1.45, 0.05)], 0.035, 0.6)
    hole(canvas, ellipse((0.47, 0.08), (0.048, 0.030)), 0.012, ZINC)
    hole(canvas, ellipse((0.16, 0.86), (0.032, 0.032)), 0.010, ZINC)
    scratches(canvas, rng, 6)
    sway = rng.uniform(-0.016, 0.016, size=(5, 3))
    for centre in ((0.33, 0.42), (0.99, 0.54)):
        block(canvas, centre, (0.058, 0.305), BLACK_PLASTIC, lift=0.02)
    for number, material in enumerate(_PIPES):
        left, right = 0.22 + 0.100 * number, 0.33 + 0.105 * number
        start, bend, end = (float(value) for value in sway[number])
        points: list[Point] = [(-0.06, left + start), (0.33, left), (0.50, left + 0.012)]
        points += [(0.70 + bend, 0.5 * (left + right)), (0.86, right - 0.012), (0.99, right)]
        points += [(1.40, right + end)]
        radius = (0.036, 0.028, 0.033, 0.025, 0.038)[number]
        wire(canvas, points, radius, material, grain)
    for x, first, step in ((0.33, 0.22, 0.100), (0.99, 0.33, 0.105)):
        _holder(canvas, x, first, step)
    multiple = faults.has("operator") and faults.has("obstruction")
    if faults.has("obstruction"):
        # Beside a hand, which comes from the right, the obstruction keeps to the left.
        x = float(faults.rng.uniform(0.20, 0.45 if multiple else 1.12))
        centre = (x, float(faults.rng.uniform(0.28, 0.74)))
        thing = obstruction(canvas, faults.rng, centre, faults.rng.uniform(0.26, 0.42))
        faults.mark("obstruction", canvas, [thing])
    if faults.has("operator"):
        x = float(faults.rng.uniform(0.80, 0.95) if multiple else faults.rng.uniform(0.45, 0.90))
        reach = (x, float(faults.rng.uniform(0.30, 0.70)))
        faults.mark("operator", canvas, hand(canvas, faults.rng, reach, 0.28))


def _holder(canvas: Canvas, x: float, first: float, step: float) -> None:
    """The upper half of a pipe holder: a ribbed bar with a saddle over every pipe."""
    low, high = first - 0.065, first + 4.0 * step + 0.065
    half = 0.5 * (high - low)
    bar = box(canvas, (x, 0.5 * (low + high)), (0.034, half), corner=0.012, bevel=0.014)
    _, y = canvas.position(bar.index)
    wave = np.sin(2.0 * np.pi * (y - first) / step + 0.5 * np.pi)
    canvas.paint(bar.tilted(0.0, 0.5 * wave), BLACK_PLASTIC, texture=1.3, lift=0.03)
    for number in range(4):
        seam = (x, first + (number + 0.5) * step)
        canvas.paint(box(canvas, seam, (0.020, 0.004), bevel=0.003), BLACK_PLASTIC, texture=0.4)


def draw_underbody_screw(canvas: Canvas, rng: np.random.Generator, faults: Faults) -> None:
    """Draw a lining held to the floor pan by two screws; one or both may be missing."""
    coated(canvas, rng, Material((0.58, 0.60, 0.61)))
    recess(canvas, (0.30, 0.14), (0.22, 0.06), depth=0.8)
    recess(canvas, (1.05, 0.13), (0.20, 0.07), depth=-0.8)
    bead(canvas, [(0.62, -0.1), (0.64, 0.20), (0.72, 0.36)], 0.028, 0.7)
    hole(canvas, ellipse((0.13, 0.34), (0.060, 0.034)), 0.013, STEEL)
    hole(canvas, ellipse((1.20, 0.36), (0.030, 0.030)), 0.010, STEEL)
    scratches(canvas, rng, 8)
    felt = canvas.noise(rng, (170.0, 170.0)) + 0.5 * canvas.noise(rng, (40.0, 40.0))
    s = [float(value) for value in rng.uniform(-0.012, 0.012, size=6)]
    outline: list[Point] = [(-0.1, 0.52 + s[0]), (0.24, 0.50), (0.30, 0.44), (0.46, 0.44)]
    outline += [(0.53, 0.50), (0.78, 0.515 + s[1]), (0.85, 0.42), (1.06, 0.42), (1.12, 0.52)]
    outline += [(1.45, 0.53 + s[2]), (1.45, 1.1), (-0.1, 1.1)]
    lining = polygon(canvas, outline, edge=0.012, steepness=0.7)
    fleece = Material((0.165, 0.168, 0.175), specular=0.05, shininess=6.0)
    canvas.paint(lining, fleece, texture=1.0 + 0.16 * felt[lining.index], lift=0.02)
    for y in (0.72, 0.83, 0.94):
        bead(canvas, [(-0.1, y), (0.5, y + 0.01), (1.45, y)], 0.026, 0.8)
    cable: list[Point] = [(0.62, 0.60 + s[3]), (0.70, 0.66), (0.84, 0.64), (1.45, 0.66 + s[4])]
    cord = tube(canvas, cable, 0.013, rounded=True)
    canvas.paint(cord, BLACK_PLASTIC, texture=0.9, lift=0.02)
    turns = rng.uniform(0.0, np.pi / 3.0, size=2)
    absent = faults.variant("missing", 5)
    for number, centre in enumerate([(0.38 + s[3], 0.525 + s[4]), (0.955 + s[5], 0.505)]):
        # Mostly one screw is missing, sometimes (variant 4) both; each is a region of its own.
        if absent == 4 or (absent >= 0 and absent % 2 == number):
            faults.mark("missing", canvas, [threaded_hole(canvas, centre, 0.056, ZINC)])
        else:
            torx_screw(canvas, centre, 0.056, ZINC, float(turns[number]))
