"""pipe_clip: two pipes held by a plastic clip; pipe_staple: a connector locked by a wire staple."""

from __future__ import annotations

import numpy as np

from common.data.synthetic.canvas import Canvas, Fragments
from common.data.synthetic.faults import Faults
from common.data.synthetic.foreign import hand
from common.data.synthetic.light import Material
from common.data.synthetic.screws import hex_nut
from common.data.synthetic.shapes import Point, box, disc, tube
from common.data.synthetic.surfaces import (
    BLACK_PLASTIC,
    DARK,
    STEEL,
    ZINC,
    bead,
    block,
    brushed,
    coated,
    corrugated,
    ellipse,
    hole,
    recess,
    scratches,
    wire,
)

_IVORY = Material((0.80, 0.77, 0.66), specular=0.30, shininess=22.0)
_RUBBER = Material((0.12, 0.125, 0.14), specular=0.55, shininess=30.0)
_NYLON = Material((0.40, 0.52, 0.50), specular=0.55, shininess=38.0)


def draw_pipe_clip(canvas: Canvas, rng: np.random.Generator, faults: Faults) -> None:
    """Draw a black and a green pipe in their clip; unclipped, one has sprung out of its jaw."""
    grain = 0.6 * canvas.noise(rng, (150.0, 150.0))
    coated(canvas, rng, Material((0.47, 0.50, 0.54)))
    bead(canvas, [(0.10, -0.1), (0.12, 0.5), (0.10, 1.1)], 0.05, 0.6)
    recess(canvas, (0.90, 0.20), (0.09, 0.24), depth=-0.8)
    hole(canvas, ellipse((0.90, 0.86), (0.040, 0.028)), 0.012, ZINC)
    scratches(canvas, rng, 4)
    sway = rng.uniform(-0.018, 0.018, size=8)
    turn = float(rng.uniform(0.0, np.pi / 3.0))
    block(canvas, (0.53, 0.50), (0.32, 0.125), _IVORY, lift=0.03)
    hex_nut(canvas, (0.795, 0.50), 0.052, ZINC, turn)
    out = faults.variant("unclipped", 2)
    wrong: list[Fragments] = []
    sides = [(0.395, 0.062, _RUBBER, -1.0), (0.615, 0.050, _NYLON, 1.0)]
    for number, (x, radius, material, side) in enumerate(sides):
        hollow = _channel(canvas, x, radius)
        ends = (float(sway[4 * number]), float(sway[4 * number + 1]))
        seated = _course(x, ends, 0.0)
        if number != out:
            wire(canvas, seated, radius, material, grain)
            _jaw(canvas, x, radius, closed=True)
            continue
        jaw = _jaw(canvas, x, radius, closed=False)
        leap = side * float(faults.rng.uniform(0.115, 0.155))
        sprung = _course(x, ends, leap)
        wire(canvas, sprung, radius, material, grain)
        for points in (seated, sprung):
            pipe = tube(canvas, points, radius)
            _, y = canvas.position(pipe.index)
            wrong.append(pipe.where(np.abs(y - 0.5) < 0.30))
        wrong += [hollow, *jaw]
    if wrong:
        faults.mark("unclipped", canvas, wrong)
    if faults.has("operator"):
        reach = (float(faults.rng.uniform(0.36, 0.64)), float(faults.rng.uniform(0.30, 0.72)))
        faults.mark("operator", canvas, hand(canvas, faults.rng, reach, 0.30))


def _course(x: float, ends: tuple[float, float], leap: float) -> list[Point]:
    """A pipe from top to bottom, straight in the clip; `leap` is how far it has sprung out."""
    y = np.linspace(-0.06, 1.06, 17)
    sway = ends[0] * np.clip((0.30 - y) / 0.36, 0.0, 1.0) ** 2
    sway += ends[1] * np.clip((y - 0.70) / 0.36, 0.0, 1.0) ** 2
    sprung = leap * np.cos(0.5 * np.pi * np.clip((y - 0.5) / 0.36, -1.0, 1.0)) ** 2
    return [(float(a), float(b)) for a, b in zip(x + sway + sprung, y, strict=True)]


def _channel(canvas: Canvas, x: float, radius: float) -> Fragments:
    """Paint the hollow of the clip in which a pipe lies; returns it."""
    hollow = tube(canvas, [(x, 0.385), (x, 0.615)], 1.06 * radius, steepness=-0.7)
    canvas.paint(hollow, _IVORY, texture=0.55 + 0.2 * hollow.u**2)
    return hollow


def _jaw(canvas: Canvas, x: float, radius: float, *, closed: bool) -> list[Fragments]:
    """Paint the arms beside a pipe, and the latch over it if closed; returns all their places."""
    places: list[Fragments] = []
    for side in (-1.0, 1.0):
        at = x + 1.02 * side * radius
        arm: list[Point] = [(at, 0.40), (at, 0.60)]
        shape = tube(canvas, arm, 0.020, rounded=True, flat=2.0)
        canvas.paint(shape, _IVORY, lift=0.02)
        places.append(shape)
    latch = box(canvas, (x, 0.50), (1.35 * radius, 0.048), corner=0.012, bevel=0.014)
    places.append(latch)
    if closed:
        # Bulged over the pipe, as the pipe is round beneath it.
        bulge = np.clip(latch.u / (1.35 * radius), -1.0, 1.0)
        canvas.paint(latch.tilted(-0.8 * bulge), _IVORY, lift=0.025)
        canvas.paint(box(canvas, (x, 0.50), (0.55 * radius, 0.010), bevel=0.004).faded(0.7), DARK)
    return places


def draw_pipe_staple(canvas: Canvas, rng: np.random.Generator, faults: Faults) -> None:
    """Draw a hose connector on a metal pipe; its staple locks both, or its slots are empty."""
    grain = 0.6 * canvas.noise(rng, (150.0, 150.0))
    brushed(canvas, rng, Material((0.52, 0.53, 0.53)))
    recess(canvas, (0.50, 0.50), (0.62, 0.29), depth=-0.7)
    bead(canvas, [(-0.1, 0.10), (1.1, 0.08)], 0.030, 0.7)
    hole(canvas, ellipse((0.14, 0.885), (0.036, 0.036)), 0.012, ZINC)
    recess(canvas, (0.76, 0.90), (0.15, 0.05), depth=0.7)
    scratches(canvas, rng, 6)
    sway = [float(value) for value in rng.uniform(-0.02, 0.02, size=6)]
    x, y = 0.50 + sway[0], 0.50 + sway[1]
    corrugated(
        canvas,
        [(-0.06, y + 0.10 + sway[2]), (0.16, y + 0.03), (x - 0.16, y)],
        0.075,
        _RUBBER,
        0.034,
    )
    wire(canvas, [(x + 0.15, y), (0.84, y + 0.01), (1.06, y - 0.05 + sway[3])], 0.055, STEEL, grain)
    collar = tube(canvas, [(x + 0.205, y - 0.001), (x + 0.235, y + 0.001)], 0.075)
    canvas.paint(collar, STEEL, lift=0.03)
    body = tube(canvas, [(x - 0.20, y), (x + 0.19, y)], 0.115, flat=1.5)
    canvas.paint(body, BLACK_PLASTIC, texture=1.15, lift=0.05)
    for at in (-0.185, 0.17):
        ring = tube(canvas, [(x + at - 0.018, y), (x + at + 0.018, y)], 0.130, flat=1.5)
        canvas.paint(ring, BLACK_PLASTIC, texture=1.5, lift=0.012)
    canvas.paint(disc(canvas, (x - 0.12, y - 0.01), 0.016), _NYLON)
    legs = (x - 0.055 + 0.3 * sway[4], x + 0.065 + 0.3 * sway[4])
    for leg in legs:
        slot = tube(canvas, [(leg, y - 0.112), (leg, y + 0.112)], 0.030, flat=4.0, steepness=-0.5)
        canvas.paint(slot, Material((0.022, 0.022, 0.026), specular=0.06), texture=1.0)
    top, low = y - 0.155 + 0.5 * sway[5], y + 0.165
    bow: list[Point] = [(legs[0] - 0.016, low + 0.03), (legs[0], y + 0.10), (legs[0], y - 0.08)]
    bow += [(legs[0] + 0.018, top), (0.5 * (legs[0] + legs[1]), top - 0.028)]
    bow += [(legs[1] - 0.018, top), (legs[1], y - 0.08), (legs[1], y + 0.10)]
    bow += [(legs[1] + 0.016, low + 0.03)]
    staple = tube(canvas, bow, 0.021, rounded=True)
    if faults.has("missing"):
        faults.mark("missing", canvas, [staple])
        return
    bright = Material((0.86, 0.80, 0.58), specular=0.55, shininess=50.0, metal=0.55)
    canvas.paint(staple, bright, lift=0.035)
