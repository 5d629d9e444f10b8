"""What parts stand on: brushed and cast metal, coated sheet, moulded plastic; and materials."""

from __future__ import annotations

import numpy as np

from common.data.synthetic.canvas import Canvas, Fragments
from common.data.synthetic.light import FloatArray, Material
from common.data.synthetic.shapes import Point, box, polygon, tube

STEEL = Material((0.78, 0.79, 0.80), specular=0.35, shininess=45.0, metal=0.75)
ZINC = Material((0.72, 0.71, 0.66), specular=0.25, shininess=30.0, metal=0.6)
BLACK_PLASTIC = Material((0.085, 0.088, 0.095), specular=0.30, shininess=22.0)
DARK = Material((0.03, 0.03, 0.035), specular=0.0)


def brushed(canvas: Canvas, rng: np.random.Generator, material: Material) -> None:
    """Rolled metal: fine streaks along x, broad soft reflections, grain."""
    streaks = canvas.noise(rng, (170.0, 3.0)) + 0.6 * canvas.noise(rng, (70.0, 1.0))
    broad = canvas.noise(rng, (2.0, 2.0)) + 0.5 * canvas.noise(rng, (5.0, 4.0))
    grain = canvas.noise(rng, (180.0, 180.0))
    canvas.fill(material, 1.0 + 0.030 * streaks + 0.055 * broad + 0.035 * grain)


def coated(canvas: Canvas, rng: np.random.Generator, material: Material) -> None:
    """Painted or moulded sheet: orange peel, dust and a few clouds of dirt."""
    clouds = canvas.noise(rng, (3.0, 3.0)) + 0.7 * canvas.noise(rng, (9.0, 9.0))
    peel = canvas.noise(rng, (60.0, 60.0)) + canvas.noise(rng, (150.0, 150.0))
    canvas.fill(material, 1.0 + 0.035 * clouds + 0.022 * peel)


def scratches(canvas: Canvas, rng: np.random.Generator, count: int) -> None:
    """Fine bright scratches, part of the normal look of used sheet metal."""
    for _ in range(count):
        x, y = rng.uniform(0.0, canvas.width), rng.uniform(0.0, 1.0)
        angle, length = rng.uniform(0.0, np.pi), rng.uniform(0.03, 0.09)
        end = (x + length * np.cos(angle), y + length * np.sin(angle))
        line = tube(canvas, [(x, y), end], 0.0016).faded(float(rng.uniform(0.06, 0.2)))
        canvas.paint(line, Material((0.9, 0.9, 0.9), specular=0.0))


def bead(canvas: Canvas, points: list[Point], radius: float, depth: float = 0.5) -> None:
    """A pressed bead in the sheet along a curve; negative depth is a groove."""
    canvas.relief(tube(canvas, points, radius, rounded=True, flat=1.6, steepness=0.5), depth)


def recess(
    canvas: Canvas, centre: Point, half: Point, *, angle: float = 0.0, depth: float = -1.0
) -> None:
    """A pressed rectangular field; positive depth stands out."""
    corner = 0.35 * min(half)
    field = box(canvas, centre, half, angle=angle, corner=corner, bevel=0.022, steepness=0.55)
    canvas.relief(field, depth)


def hole(canvas: Canvas, outline: list[Point], rim: float, material: Material) -> Fragments:
    """A hole with a bright rolled rim; returns the dark inside."""
    centre = np.mean(np.asarray(outline), axis=0)
    wider = [
        (float(x + rim * (x - centre[0]) / r), float(y + rim * (y - centre[1]) / r))
        for x, y in outline
        for r in [max(float(np.hypot(x - centre[0], y - centre[1])), 1e-6)]
    ]
    canvas.paint(polygon(canvas, wider, edge=rim, steepness=1.1), material)
    inside = polygon(canvas, outline)
    canvas.paint(inside, DARK)
    return inside


def ellipse(centre: Point, half: Point, *, angle: float = 0.0, corners: int = 40) -> list[Point]:
    """Corner points of an ellipse."""
    turn = np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False)
    u, v = half[0] * np.cos(turn), half[1] * np.sin(turn)
    x = centre[0] + u * np.cos(angle) - v * np.sin(angle)
    y = centre[1] + u * np.sin(angle) + v * np.cos(angle)
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def smooth(outline: list[Point]) -> list[Point]:
    """A closed outline with its corners cut off four times over, so that it looks cast."""
    corners = np.asarray(outline)
    for _ in range(4):
        following = np.roll(corners, -1, axis=0)
        pairs = [0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following]
        corners = np.stack(pairs, axis=1).reshape(-1, 2)
    return [(float(x), float(y)) for x, y in corners]


def wire(
    canvas: Canvas, points: list[Point], radius: float, material: Material, grain: FloatArray
) -> Fragments:
    """Paint an insulated wire or a pipe with its shadow; returns what it covers."""
    shape = tube(canvas, points, radius)
    canvas.paint(shape, material, texture=1.0 + 0.05 * grain[shape.index], lift=1.1 * radius)
    return shape


def corrugated(
    canvas: Canvas, points: list[Point], radius: float, material: Material, pitch: float
) -> Fragments:
    """Paint a ribbed hose with its shadow; `pitch` is the length of one rib."""
    shape = tube(canvas, points, radius)
    phase = 2.0 * np.pi * shape.v / pitch
    ribbed = shape.tilted(0.9 * np.sin(phase))
    canvas.paint(ribbed, material, texture=0.75 + 0.25 * np.cos(phase), lift=1.1 * radius)
    return shape


def strap(canvas: Canvas, points: list[Point], radius: float, material: Material) -> Fragments:
    """Paint a flat strap or a sheet-metal band with its shadow; returns what it covers."""
    shape = tube(canvas, points, radius, flat=5.0, steepness=0.6)
    canvas.paint(shape, material, lift=0.5 * radius)
    return shape


def block(
    canvas: Canvas,
    centre: Point,
    half: Point,
    material: Material,
    *,
    angle: float = 0.0,
    lift: float = 0.02,
) -> Fragments:
    """Paint a moulded block with its shadow; returns what it covers."""
    corner = 0.25 * min(half)
    shape = box(canvas, centre, half, angle=angle, corner=corner, bevel=0.35 * min(half))
    canvas.paint(shape, material, lift=lift)
    return shape
