"""Things that do not belong in the picture: cardboard, obstructions, an operator's hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.data.synthetic.canvas import Canvas, Fragments
from common.data.synthetic.light import Colour, FloatArray, Material
from common.data.synthetic.shapes import Point, box, disc, polygon, tube
from common.data.synthetic.surfaces import corrugated


def cardboard(canvas: Canvas, rng: np.random.Generator, centre: Point, size: float) -> Fragments:
    """Paint a torn piece of brown corrugated cardboard about `size` across; returns its outline."""
    angle = rng.uniform(-0.7, 0.7)
    half_u, half_v = 0.5 * size * rng.uniform(0.9, 1.15), 0.34 * size * rng.uniform(0.9, 1.2)
    outline: list[Point] = []
    corners = [(-half_u, -half_v), (half_u, -half_v), (half_u, half_v), (-half_u, half_v)]
    for side, (u, v) in enumerate(corners):
        next_u, next_v = corners[(side + 1) % 4]
        # One side is torn, the others are cut.
        rough = 0.045 * size if side == 1 else 0.004 * size
        for share in np.linspace(0.0, 1.0, 14, endpoint=False):
            at_u = u + share * (next_u - u) + rough * rng.standard_normal()
            at_v = v + share * (next_v - v) + rough * rng.standard_normal()
            outline.append(_turned(centre, at_u, at_v, angle))
    sheet = polygon(canvas, outline, edge=0.006, steepness=0.5)
    across = -sheet.u * np.sin(angle) + sheet.v * np.cos(angle)
    flutes = 0.055 * np.sin(2.0 * np.pi * across / 0.026)
    fibre = canvas.noise(rng, (130.0, 60.0))[sheet.index]
    stain = canvas.noise(rng, (7.0, 7.0))[sheet.index]
    brown = Material((0.66, 0.50, 0.33), specular=0.03, shininess=8.0)
    texture = 1.0 + flutes + 0.04 * fibre + 0.03 * stain
    canvas.paint(sheet, brown, texture=texture, lift=0.022)
    return sheet


def obstruction(canvas: Canvas, rng: np.random.Generator, centre: Point, size: float) -> Fragments:
    """Paint one of five stray objects about `size` across; returns what it covers."""
    kinds: list[Callable[[Canvas, np.random.Generator, Point, float], Fragments]]
    kinds = [_hose, _tape, _plug, _label, _rag]
    return kinds[int(rng.integers(len(kinds)))](canvas, rng, centre, size)


def hand(canvas: Canvas, rng: np.random.Generator, reach: Point, size: float) -> list[Fragments]:
    """Paint an operator's gloved hand whose middle finger ends at `reach`; returns its parts.

    It comes from the nearer of the left and right borders, `size` is about the palm's breadth.
    """
    gloves: list[Colour] = [(0.70, 0.70, 0.68), (0.30, 0.42, 0.62), (0.80, 0.60, 0.48)]
    colour = gloves[int(rng.integers(len(gloves)))]
    glove = Material(colour, specular=0.10, shininess=10.0)
    knit = canvas.noise(rng, (110.0, 110.0))
    folds = canvas.noise(rng, (14.0, 14.0))
    side = 1.0 if reach[0] > canvas.width / 2.0 else -1.0
    # Where fingers point: inwards, a little up or down.
    heading = np.array([-side, rng.uniform(-0.35, 0.35)])
    heading /= np.linalg.norm(heading)
    aside = np.array([-heading[1], heading[0]]) * (1.0 if rng.random() < 0.5 else -1.0)
    tip = np.asarray(reach)
    wrist = tip - 1.75 * size * heading
    elbow = wrist - 1.6 * heading
    parts: list[Fragments] = []

    def limb(points: list[Point], radii: list[float]) -> None:
        shape = tube(canvas, points, radii, rounded=True, steepness=0.75)
        texture = 1.0 + 0.05 * knit[shape.index] + 0.05 * folds[shape.index]
        canvas.paint(shape, glove, texture=texture, lift=0.022)
        parts.append(shape)

    limb(_route(wrist, elbow), [0.36 * size, 0.46 * size])
    palm = tip - 1.05 * size * heading
    limb(_route(palm + 0.05 * aside * size, wrist), [0.46 * size, 0.38 * size])
    thumb = palm + 0.75 * size * aside + 0.42 * size * heading
    limb(
        _route(thumb, palm + 0.45 * size * aside, palm - 0.3 * size * heading),
        [0.105 * size, 0.14 * size, 0.17 * size],
    )
    for place, length in zip((-0.345, -0.115, 0.115, 0.345), (0.82, 0.97, 1.0, 0.9), strict=True):
        root = palm - place * size * aside + 0.1 * size * heading
        bend = 0.025 * size * rng.standard_normal()
        end = root + (0.95 * length * heading - 0.35 * place * aside) * size
        middle = 0.5 * (root + end) + bend * aside
        limb(_route(end, middle, root), [0.095 * size, 0.115 * size, 0.125 * size])
    return parts


def _hose(canvas: Canvas, rng: np.random.Generator, centre: Point, size: float) -> Fragments:
    """A loose black corrugated hose."""
    black = Material((0.10, 0.10, 0.11), specular=0.35, shininess=25.0)
    return corrugated(canvas, _sagging(rng, centre, size), 0.11 * size, black, 0.07 * size)


def _tape(canvas: Canvas, rng: np.random.Generator, centre: Point, size: float) -> Fragments:
    """A strip of crumpled masking tape."""
    shape = tube(canvas, _sagging(rng, centre, size), 0.12 * size, flat=8.0, steepness=0.4)
    crease = canvas.noise(rng, (34.0, 34.0))[shape.index]
    tape = Material((0.86, 0.79, 0.50), specular=0.16, shininess=12.0)
    crumpled = shape.tilted(0.16 * crease, 0.1 * crease)
    canvas.paint(crumpled, tape, texture=1.0 + 0.05 * crease, lift=0.014)
    return shape


def _plug(canvas: Canvas, rng: np.random.Generator, centre: Point, size: float) -> Fragments:
    """A red transport plug lying about."""
    red = Material((0.78, 0.10, 0.09), specular=0.45, shininess=35.0)
    base = disc(canvas, centre, 0.36 * size, dome=0.2)
    canvas.paint(base, red, lift=0.05 * size)
    knob = disc(canvas, centre, 0.20 * size, dome=0.9)
    canvas.paint(knob, red, lift=0.10 * size)
    return base


def _label(canvas: Canvas, rng: np.random.Generator, centre: Point, size: float) -> Fragments:
    """A paper label with a bar code."""
    angle = float(rng.uniform(-0.8, 0.8))
    paper = box(canvas, centre, (0.46 * size, 0.28 * size), angle=angle, corner=0.01, bevel=0.004)
    white = Material((0.90, 0.90, 0.87), specular=0.06, shininess=10.0)
    across, down = paper.u / (0.46 * size), paper.v / (0.28 * size)
    widths = rng.random(34) < 0.5
    bars = widths[np.clip((across + 0.8) / 1.6 * 34, 0, 33).astype(np.intp)]
    coded = bars & (np.abs(across) < 0.8) & (down > -0.6) & (down < 0.25)
    written = (np.abs(across) < 0.6) & (np.abs(down - 0.55) < 0.08) & (np.sin(90.0 * across) > -0.3)
    wave = 0.10 * np.sin(3.0 * across + 1.0)
    texture = np.where(coded | written, 0.14, 1.0)
    canvas.paint(paper.tilted(wave), white, texture=texture, lift=0.012)
    return paper


def _rag(canvas: Canvas, rng: np.random.Generator, centre: Point, size: float) -> Fragments:
    """A crumpled cleaning rag."""
    turn = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    reach = np.ones_like(turn)
    for waves in range(2, 8):
        reach += rng.uniform(0.02, 0.09) * np.cos(waves * turn + rng.uniform(0.0, 6.3))
    reach *= 0.42 * size
    outline = [
        (float(centre[0] + r * np.cos(t)), float(centre[1] + 0.8 * r * np.sin(t)))
        for r, t in zip(reach, turn, strict=True)
    ]
    shape = polygon(canvas, outline, edge=0.02, steepness=0.8)
    folds = canvas.noise(rng, (11.0, 11.0))[shape.index]
    threads = canvas.noise(rng, (160.0, 160.0))[shape.index]
    cross = canvas.noise(rng, (13.0, 13.0))[shape.index]
    cloth = Material((0.40, 0.52, 0.70), specular=0.02, shininess=6.0)
    crumpled = shape.tilted(0.42 * folds, 0.42 * cross)
    canvas.paint(crumpled, cloth, texture=1.0 + 0.10 * folds + 0.05 * threads, lift=0.02)
    return shape


def _sagging(rng: np.random.Generator, centre: Point, size: float) -> list[Point]:
    """A slack curve through about `centre`, `size` long."""
    angle = float(rng.uniform(-0.9, 0.9))
    sag = size * float(rng.uniform(0.12, 0.28))
    marks = [(-0.5, 0.0), (-0.2, 0.8), (0.15, 0.5), (0.5, -0.4)]
    return [_turned(centre, u * size, v * sag, angle) for u, v in marks]


def _turned(centre: Point, u: float, v: float, angle: float) -> Point:
    """The position (u, v) in a frame turned about `centre`."""
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return (float(centre[0] + u * cosine - v * sine), float(centre[1] + u * sine + v * cosine))


def _route(*stops: FloatArray) -> list[Point]:
    """Arrays as points."""
    return [(float(x), float(y)) for x, y in stops]
