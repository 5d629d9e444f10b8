"""engine_wiring: wires held by two metal clips and a blue strap, a foil cable with a blue hoop."""

from __future__ import annotations

import numpy as np

from common.data.synthetic.canvas import Canvas, Fragments
from common.data.synthetic.faults import Faults
from common.data.synthetic.foreign import cardboard, obstruction
from common.data.synthetic.light import Colour, FloatArray, Material
from common.data.synthetic.shapes import Point, box, polygon, tube
from common.data.synthetic.surfaces import (
    STEEL,
    brushed,
    ellipse,
    hole,
    recess,
    scratches,
    smooth,
    strap,
    wire,
)

_BLUE = Material((0.06, 0.14, 0.62), specular=0.45, shininess=30.0)
_ORANGE: Colour = (0.93, 0.36, 0.10)
_YELLOW: Colour = (0.95, 0.86, 0.30)
_GREEN: Colour = (0.05, 0.45, 0.27)
_RED: Colour = (0.80, 0.30, 0.22)


def draw_engine_wiring(canvas: Canvas, rng: np.random.Generator, faults: Faults) -> None:
    """Draw one engine bay; see the module for what is in it."""
    grain = 0.6 * canvas.noise(rng, (150.0, 150.0))
    _bay(canvas, rng)
    sway = rng.uniform(-0.022, 0.022, size=8)
    swapped = rng.random() < 0.35
    _wires(canvas, sway, swapped, grain)
    foil = _foil_cable(canvas, rng, sway)
    variant = faults.variant("fastening", 3)
    wrong = _clips(canvas, sway, variant) + _blue_strap(canvas, rng, sway, faults, variant)
    if wrong:
        faults.mark("fastening", canvas, wrong)
    _hoop(canvas, rng, foil, faults)
    # Of two foreign things one keeps to the left and the other to the right.
    both = faults.has("cardboard") and faults.has("obstruction")
    if faults.has("cardboard"):
        spots = [(0.24, 0.27), (0.20, 0.60), (0.80, 0.80), (0.74, 0.16)]
        centre = _spot(faults, spots[:2] if both else spots)
        piece = cardboard(canvas, faults.rng, centre, float(faults.rng.uniform(0.24, 0.36)))
        faults.mark("cardboard", canvas, [piece])
    if faults.has("obstruction"):
        spots = [(0.72, 0.80), (0.72, 0.20), (0.18, 0.40), (0.30, 0.80), (0.46, 0.14)]
        centre = _spot(faults, spots[:2] if both else spots)
        thing = obstruction(canvas, faults.rng, centre, float(faults.rng.uniform(0.28, 0.38)))
        faults.mark("obstruction", canvas, [thing])


def _spot(faults: Faults, places: list[Point]) -> Point:
    """One of the places, moved about a little."""
    x, y = places[int(faults.rng.integers(len(places)))]
    dx, dy = faults.rng.uniform(-0.04, 0.04, size=2)
    return (x + float(dx), y + float(dy))


def _bay(canvas: Canvas, rng: np.random.Generator) -> None:
    """The cast metal around the wires: a plate, a dark opening, a raised foot with a hole."""
    brushed(canvas, rng, Material((0.60, 0.61, 0.62)))
    scratches(canvas, rng, 5)
    recess(canvas, (0.12, 0.16), (0.34, 0.10), angle=-0.06, depth=0.5)
    recess(canvas, (0.30, 0.45), (0.10, 0.17), angle=0.05, depth=0.7)
    opening: list[Point] = [(1.10, -0.05), (0.86, -0.03), (0.76, 0.05), (0.70, 0.13)]
    opening += [(0.70, 0.22), (0.74, 0.30), (0.71, 0.40), (0.69, 0.55), (0.71, 0.70)]
    opening += [(0.77, 0.80), (0.80, 0.87), (0.90, 0.90), (1.10, 0.90)]
    dark = hole(canvas, smooth(opening), 0.018, STEEL)
    _behind(canvas, dark)
    foot: list[Point] = [(-0.1, 0.66), (0.16, 0.64), (0.25, 0.70), (0.27, 0.86), (0.20, 1.1)]
    raised = polygon(canvas, [*foot, (-0.1, 1.1)], edge=0.016, steepness=0.8)
    canvas.relief(raised, 1.0)
    hole(canvas, ellipse((0.075, 0.735), (0.045, 0.052)), 0.014, STEEL)


def _behind(canvas: Canvas, opening: Fragments) -> None:
    """Parts dimly seen through the opening."""
    dim = Material((0.17, 0.17, 0.18), specular=0.25, shininess=18.0)
    visible = np.zeros(canvas.rows * canvas.columns, dtype=np.bool_)
    visible[opening.index] = True
    curves: list[tuple[list[Point], float]] = [
        ([(0.80, 0.50), (0.88, 0.44), (1.02, 0.47)], 0.030),
        ([(0.74, 0.74), (0.84, 0.70), (1.02, 0.76)], 0.022),
        ([(0.90, -0.02), (0.86, 0.12), (0.95, 0.24)], 0.026),
    ]
    for points, radius in curves:
        shape = tube(canvas, points, radius)
        canvas.paint(shape.where(visible[shape.index]), dim)


def _wires(canvas: Canvas, sway: FloatArray, swapped: bool, grain: FloatArray) -> None:
    """Four wires from the top through the clips; yellow and orange may be swapped above."""
    left, right = (0.44, 0.35) if swapped else (0.35, 0.44)
    s = [float(value) for value in sway]
    red: list[Point] = [(0.47, 0.50), (0.475, 0.66), (0.50 + s[0], 0.82), (0.52 + s[1], 1.08)]
    orange: list[Point] = [(left + s[2], -0.06), (left + 0.02, 0.14), (left + 0.045, 0.36)]
    orange += [(0.41, 0.58), (0.385 + s[3], 0.80), (0.37 + s[4], 1.08)]
    yellow: list[Point] = [(right + s[5], -0.06), (right + 0.02, 0.16), (right + 0.01, 0.36)]
    yellow += [(0.43, 0.56), (0.34 + 0.5 * s[6], 0.74), (0.20 + s[6], 0.86), (0.0 + s[7], 1.04)]
    green: list[Point] = [(0.52 - s[2], -0.06), (0.545 - s[3], 0.16), (0.53, 0.36), (0.485, 0.56)]
    green += [(0.462, 0.66), (0.478, 0.755), (0.555, 0.770), (0.625, 0.655)]
    bundle: list[tuple[list[Point], float, Colour]] = [
        (red, 0.048, _RED),
        (orange, 0.050, _ORANGE),
        (green, 0.048, _GREEN),
        (yellow, 0.052, _YELLOW),
    ]
    for points, radius, colour in bundle:
        wire(canvas, points, radius, Material(colour, specular=0.60, shininess=42.0), grain)


def _foil_cable(canvas: Canvas, rng: np.random.Generator, sway: FloatArray) -> list[Point]:
    """A cable wrapped in crumpled foil from the wires to the right border; returns its curve."""
    end = 0.24 + 1.6 * float(sway[0])
    curve: list[Point] = [(0.575, 0.655), (0.72, 0.52), (0.88, 0.39 + end / 40.0), (1.08, end)]
    foil = tube(canvas, curve, [0.070, 0.085, 0.080, 0.085], steepness=0.6)
    crumple = canvas.noise(rng, (26.0, 26.0)) + 0.6 * canvas.noise(rng, (52.0, 52.0))
    crease = canvas.noise(rng, (30.0, 30.0)) + 0.6 * canvas.noise(rng, (60.0, 60.0))
    silver = Material((0.80, 0.81, 0.83), specular=0.7, shininess=60.0, metal=0.85)
    crumpled = foil.tilted(0.34 * crumple[foil.index], 0.34 * crease[foil.index])
    canvas.paint(crumpled, silver, lift=0.05)
    return curve


def _clips(canvas: Canvas, sway: FloatArray, variant: int) -> list[Fragments]:
    """Two sheet-metal clips over the wires.

    Variant 2 of the fastening defect leaves the lower one out: its place is returned, else nothing.
    """
    tilt = 0.4 * float(sway[1])
    bands: list[list[Point]] = [
        [(0.345, 0.36 - tilt), (0.48, 0.375), (0.63, 0.40 + tilt)],
        [(0.30, 0.585 - tilt), (0.41, 0.60), (0.525, 0.615 + tilt)],
    ]
    absent: list[Fragments] = []
    for number, points in enumerate(bands):
        band = tube(canvas, points, 0.047, flat=6.0, steepness=0.7)
        length = float(band.v.max()) if band.v.size else 1.0
        share = band.v / length
        # Bent over the wires: up at one end, down at the other, with two folds.
        fold = 0.55 * np.cos(np.pi * share) + 0.35 * np.sin(5.5 * np.pi * share) ** 3
        if variant == 2 and number == 1:
            absent.append(band)
            continue
        canvas.paint(band.tilted(fold), STEEL, lift=0.035)
        for end, side in ((points[0], -1.0), (points[-1], 1.0)):
            lip: list[Point] = [(end[0], end[1] - 0.047), (end[0] + 0.003 * side, end[1] + 0.047)]
            canvas.paint(tube(canvas, lip, 0.012, rounded=True), STEEL, lift=0.008)
    return absent


def _blue_strap(
    canvas: Canvas, rng: np.random.Generator, sway: FloatArray, faults: Faults, variant: int
) -> list[Fragments]:
    """The blue strap between the clips.

    Variant 0 of the fastening defect leaves it out, variant 1 draws it open and hanging loose;
    returns where it is wrong, else nothing.
    """
    turn = float(rng.uniform(-0.012, 0.012))
    low = 0.495 + 0.4 * float(sway[5])
    points: list[Point] = [(0.365, low - turn), (0.45, low + 0.012), (0.575, low + turn)]
    ratchet: Point = (0.425 + 3.0 * turn, low + 0.008)
    place = [
        tube(canvas, points, 0.030, flat=5.0),
        box(canvas, ratchet, (0.045, 0.036), corner=0.006, bevel=0.008),
    ]
    if variant in (-1, 2):
        strap(canvas, points, 0.030, _BLUE)
        canvas.paint(place[1], _BLUE, lift=0.02)
        slot = box(canvas, ratchet, (0.020, 0.020), corner=0.004, bevel=0.006)
        canvas.paint(slot, Material((0.03, 0.06, 0.30)))
        return []
    if variant == 0:
        return place
    droop = float(faults.rng.uniform(-0.04, 0.06))
    loose: list[Point] = [(0.41, low), (0.31, low - 0.01), (0.20, low - 0.09 + droop)]
    loose += [(0.10, low - 0.03 + droop)]
    hanging = strap(canvas, loose, 0.026, _BLUE)
    head = box(canvas, loose[-1], (0.040, 0.036), angle=-0.5, corner=0.006, bevel=0.008)
    canvas.paint(head, _BLUE, lift=0.02)
    return [*place, hanging, head]


def _hoop(canvas: Canvas, rng: np.random.Generator, foil: list[Point], faults: Faults) -> None:
    """The blue hoop around the foil cable; left out and marked if that is the defect."""
    share = 0.22 + float(rng.uniform(-0.15, 0.15))
    (x0, y0), (x1, y1) = foil[2], foil[3]
    x, y = x0 + share * (x1 - x0) - 0.02, y0 + share * (y1 - y0)
    length = float(np.hypot(x1 - x0, y1 - y0))
    across_x, across_y = -(y1 - y0) / length, (x1 - x0) / length
    reach = 0.098
    points: list[Point] = [
        (x - reach * across_x, y - reach * across_y),
        (x + 0.015 * across_y, y - 0.015 * across_x),
        (x + reach * across_x, y + reach * across_y),
    ]
    knob: Point = points[0] if rng.random() < 0.5 else points[2]
    place = [
        tube(canvas, points, 0.030, flat=4.0, rounded=True),
        box(canvas, knob, (0.036, 0.030), angle=float(np.arctan2(y1 - y0, x1 - x0)), bevel=0.01),
    ]
    if faults.has("blue_hoop"):
        faults.mark("blue_hoop", canvas, place)
        return
    ring = place[0].tilted(0.25 * np.sin(2.0 * np.pi * place[0].v / 0.022))
    canvas.paint(ring, _BLUE, lift=0.025)
    canvas.paint(place[1], _BLUE, lift=0.01)
