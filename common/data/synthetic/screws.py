"""Screws seen from above, and the threaded holes they leave."""

from __future__ import annotations

import numpy as np

from common.data.synthetic.canvas import Canvas, Fragments
from common.data.synthetic.light import Material
from common.data.synthetic.shapes import Point, disc
from common.data.synthetic.surfaces import DARK


def hex_nut(
    canvas: Canvas, centre: Point, radius: float, material: Material, turn: float
) -> Fragments:
    """Paint a hexagon flange nut on a threaded stud; returns the flange, which covers all of it.

    `radius` is the flange's, `turn` (radians) how far the hexagon is turned.
    """
    flange = disc(canvas, centre, radius, dome=0.55)
    canvas.paint(flange, material, lift=0.25 * radius)
    groove = flange.where((flange.u > 0.80) & (flange.u < 0.84)).faded(0.5)
    canvas.paint(groove, DARK)
    # Distance from the middle to the nearest of the six flats.
    sixth = np.pi / 3.0
    facing = np.mod(flange.v - turn + sixth / 2.0, sixth) - sixth / 2.0
    reach = flange.u * np.cos(facing)
    wall = flange.where(reach < 0.70)
    side = reach[reach < 0.70]
    canvas.shadow(wall, 0.22 * radius)
    # Chamfered rim of the hexagon, then its flat top.
    chamfer = wall.u > 0.64
    steep = np.where(side > 0.62, 1.3, np.where(chamfer, 0.45, 0.03))
    canvas.paint(wall.tilted(-steep), material, texture=np.where(side > 0.62, 0.8, 1.05))
    stud = flange.where(flange.u < 0.42)
    canvas.paint(stud.where(stud.u > 0.37), DARK)
    core = stud.where(stud.u <= 0.38)
    # The thread's crests, wound once a turn.
    wound = 2.0 * np.pi * core.u / 0.095 + core.v
    threads = core.tilted(0.9 * np.sin(wound) * (core.u > 0.2))
    canvas.paint(threads, material, texture=0.62 + 0.2 * np.cos(wound))
    return flange


def torx_screw(
    canvas: Canvas, centre: Point, radius: float, material: Material, turn: float
) -> Fragments:
    """Paint a pan-head screw with a six-lobed drive and a washer; returns the washer's disc."""
    washer = disc(canvas, centre, radius, dome=0.18)
    canvas.paint(washer, material, lift=0.18 * radius)
    canvas.paint(washer.where(washer.u > 0.95).faded(0.5), DARK)
    head = disc(canvas, centre, 0.72 * radius)
    canvas.shadow(head, 0.35 * radius)
    # A pan head: steep at the rim, nearly flat on top.
    dome = -1.25 * head.u**4 - 0.12 * head.u
    canvas.paint(head.tilted(dome), material, texture=1.05)
    lobes = 0.37 + 0.07 * np.cos(6.0 * (head.v - turn))
    drive = head.where(head.u < lobes)
    depth = (lobes[head.u < lobes] - drive.u) / 0.10
    # Walls of the recess slope down to a dark floor.
    floor = np.clip(1.0 - depth, 0.0, 1.0)
    canvas.paint(drive.tilted(1.6 * floor), material, texture=0.10 + 0.45 * floor)
    return washer


def threaded_hole(canvas: Canvas, centre: Point, radius: float, material: Material) -> Fragments:
    """Paint an empty threaded hole with a bare seat around it; returns the seat's disc."""
    seat = disc(canvas, centre, radius)
    canvas.paint(seat.faded(0.75), material, texture=0.92 + 0.05 * np.cos(40.0 * seat.u))
    canvas.paint(seat.where(seat.u > 0.94).faded(0.45), DARK)
    bore = disc(canvas, centre, 0.52 * radius, dome=-1.4)
    wound = 2.0 * np.pi * bore.u / 0.16 + bore.v
    canvas.paint(bore.tilted(0.8 * np.sin(wound)), material, texture=0.42 * bore.u**2)
    canvas.paint(bore.where(bore.u < 0.62), DARK)
    return seat
