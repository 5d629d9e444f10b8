"""Shapes with their slopes: tubes along curves, boxes, discs, polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import interpolate, ndimage

from common.data.synthetic.canvas import Canvas, Fragments
from common.data.synthetic.light import FloatArray

Point = tuple[float, float]

_FINE = 512  # entries of a curve's lookup table


def tube(
    canvas: Canvas,
    points: Sequence[Point],
    radius: float | Sequence[float],
    *,
    flat: float = 1.0,
    rounded: bool = False,
    steepness: float = 1.0,
) -> Fragments:
    """A wire, pipe or ribbon along a smooth curve.

    Parameters
    ----------
    canvas : Canvas
        Drawn on.
    points : sequence of (x, y)
        The curve runs through them; two points give a straight line. It should bend no tighter
        than about twice the radius: the inside of a tighter bend may have gaps.
    radius : float or one float per point
        Half the width.
    flat : float
        1 for a round cross-section; larger is flatter with rounded edges, as a strap.
    rounded : bool
        Whether the ends are half spheres (else cut straight).
    steepness : float
        Scales the slopes: below 1 the shading is gentler.

    Returns
    -------
    Fragments
        `u` runs from -1 to 1 across, `v` is the length along the curve.
    """
    centre, tangent, length, radii = _curve(canvas.place(np.asarray(points)), radius)
    index, nearest = _near(canvas, centre, float(radii.max()) + canvas.pixel)
    x, y = canvas.position(index)
    # One step along the tangent of the nearest table entry finds the foot point well within a
    # drawn point, so that neighbouring cells agree.
    offset = (x - centre[nearest, 0]) * tangent[nearest, 0]
    offset += (y - centre[nearest, 1]) * tangent[nearest, 1]
    v = nearest.astype(np.float32) * (length / (_FINE - 1)) + offset
    foot = np.clip(np.rint(v * ((_FINE - 1) / length)), 0, _FINE - 1).astype(np.intp)
    along_x, along_y, local = tangent[foot, 0], tangent[foot, 1], radii[foot]
    away_x, away_y = x - centre[foot, 0], y - centre[foot, 1]
    across = away_y * along_x - away_x * along_y
    beyond = np.maximum(np.maximum(-v, v - length), 0.0)
    # To the foot point and not to its tangent, which a sharp bend leaves.
    distance = np.hypot(away_x, away_y)
    inside = local - distance
    if not rounded:
        inside = np.where(beyond > 0.0, np.minimum(local - np.abs(across), -beyond), inside)
    alpha = np.clip(0.5 + inside / canvas.pixel, 0.0, 1.0)
    share = np.minimum(distance / local, 1.0)
    if flat != 1.0:
        share = share**flat
    rise = -steepness * share / np.sqrt(np.maximum(1.0 - share * share, 0.02))
    scale = rise / np.maximum(distance, 1e-6)
    if rounded:
        slope_x, slope_y = scale * away_x, scale * away_y
    else:
        slope_x, slope_y = -scale * across * along_y, scale * across * along_x
    shape = Fragments(index, alpha, across / local, v, slope_x, slope_y, along_x, along_y)
    return shape.where(alpha > 0.0)


def box(
    canvas: Canvas,
    centre: Point,
    half: Point,
    *,
    angle: float = 0.0,
    corner: float = 0.0,
    bevel: float = 0.01,
    steepness: float = 0.8,
) -> Fragments:
    """A rectangle with round corners and a bevelled edge.

    `half` is half its length and half its breadth, `angle` (radians) turns it clockwise. `u` and
    `v` are the positions along the length and the breadth, in picture heights.
    """
    middle = _centre(canvas, centre)
    turn = angle + canvas.pose.angle
    half_u, half_v = half[0] * canvas.pose.zoom, half[1] * canvas.pose.zoom
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))
    reach_x = abs(half_u * cosine) + abs(half_v * sine)
    reach_y = abs(half_u * sine) + abs(half_v * cosine)
    index = _window(canvas, middle, reach_x, reach_y)
    x, y = canvas.position(index)
    u = (x - middle[0]) * cosine + (y - middle[1]) * sine
    v = (y - middle[1]) * cosine - (x - middle[0]) * sine
    over_u, over_v = np.abs(u) - half_u + corner, np.abs(v) - half_v + corner
    outside = np.hypot(np.maximum(over_u, 0.0), np.maximum(over_v, 0.0))
    inside = corner - outside - np.minimum(np.maximum(over_u, over_v), 0.0)
    alpha = np.clip(0.5 + inside / canvas.pixel, 0.0, 1.0)
    rise = steepness * np.clip(1.0 - inside / max(bevel, canvas.pixel), 0.0, 1.0)
    # Towards the inside: radially in a round corner, straight in elsewhere.
    in_u = np.where(outside > 0.0, np.maximum(over_u, 0.0), over_u > over_v) * -np.sign(u)
    in_v = np.where(outside > 0.0, np.maximum(over_v, 0.0), over_u <= over_v) * -np.sign(v)
    scale = rise / np.maximum(np.hypot(in_u, in_v), 1e-6)
    slope_u, slope_v = scale * in_u, scale * in_v
    shape = Fragments(
        index,
        alpha,
        u,
        v,
        slope_u * cosine - slope_v * sine,
        slope_u * sine + slope_v * cosine,
        np.full_like(u, cosine),
        np.full_like(u, sine),
    )
    return shape.where(alpha > 0.0)


def disc(canvas: Canvas, centre: Point, radius: float, *, dome: float = 0.0) -> Fragments:
    """A disc: `u` is the share of the radius (0 to 1), `v` the angle in radians.

    `dome` is the slope at its rim: positive bulges towards the camera, negative is hollow. The long
    axis points away from the centre, so that `tilted` adds rings.
    """
    middle = _centre(canvas, centre)
    radius = radius * canvas.pose.zoom
    index = _window(canvas, middle, radius, radius)
    x, y = canvas.position(index)
    away_x, away_y = x - middle[0], y - middle[1]
    distance = np.maximum(np.hypot(away_x, away_y), 1e-6)
    out_x, out_y = away_x / distance, away_y / distance
    share = distance / radius
    shape = Fragments(
        index,
        np.clip(0.5 + (radius - distance) / canvas.pixel, 0.0, 1.0),
        share,
        np.arctan2(away_y, away_x) - canvas.pose.angle,
        -dome * share * out_x,
        -dome * share * out_y,
        out_x,
        out_y,
    )
    return shape.where(shape.alpha > 0.0)


def polygon(
    canvas: Canvas, points: Sequence[Point], *, edge: float = 0.0, steepness: float = 1.0
) -> Fragments:
    """Any outline, smoothed by the oversampling alone.

    `edge` is the breadth over which the surface falls off at the outline (0: flat to the edge). `u`
    and `v` are x and y in the picture.
    """
    # The drawing library counts from the middle of the first point.
    corners = canvas.place(np.asarray(points)) / canvas.pixel - 0.5
    drawn = Image.new("L", (canvas.columns, canvas.rows))
    ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in corners], fill=1)
    cover = np.asarray(drawn)
    index = np.flatnonzero(cover)
    x, y = canvas.position(index)
    slope_x, slope_y = np.zeros_like(x), np.zeros_like(x)
    if edge > 0.0 and index.size:
        # Heights by blurring a coarse outline: a rounded edge needs no more.
        step = max(1, canvas.rows // 200)
        coarse = np.asarray(drawn.reduce(step), dtype=np.float32) if step > 1 else cover * 1.0
        sigma = edge / (canvas.pixel * step)
        soft = ndimage.gaussian_filter(coarse, sigma)
        fall_y, fall_x = np.gradient(soft)
        row, column = np.divmod(index, canvas.columns)
        cell = (row // step, column // step)
        slope_x, slope_y = (2.5 * steepness * sigma * fall[cell] for fall in (fall_x, fall_y))
    ones = np.ones_like(x)
    return Fragments(index, ones, x, y, slope_x, slope_y, ones, 0.0 * ones)


def _curve(
    points: FloatArray, radius: float | Sequence[float]
) -> tuple[FloatArray, FloatArray, float, FloatArray]:
    """Centres (n, 2), unit tangents (n, 2), length and radii (n,) at even steps along a curve."""
    chord = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    degree = min(3, len(points) - 1)
    spline = interpolate.make_interp_spline(chord, points, k=degree)
    dense = spline(np.linspace(0.0, chord[-1], 200))
    walked = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(dense, axis=0).T))])
    even = np.linspace(0.0, walked[-1], _FINE)
    centre = np.stack([np.interp(even, walked, dense[:, axis]) for axis in (0, 1)], axis=1)
    ahead, behind = 2.0 * centre[-1:] - centre[-2:-1], 2.0 * centre[:1] - centre[1:2]
    padded = np.concatenate([behind, centre, ahead])
    tangent = padded[2:] - padded[:-2]
    tangent /= np.hypot(tangent[:, :1], tangent[:, 1:])
    widths = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(points),))
    shares = np.interp(np.linspace(0.0, 1.0, _FINE), chord / chord[-1], widths)
    # Single precision: these tables are looked up once for every drawn point.
    single = (table.astype(np.float32) for table in (centre, tangent, shares))
    places, headings, radii = single
    return places, headings, float(walked[-1]), radii


def _near(
    canvas: Canvas, centre: FloatArray, reach: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Canvas positions within `reach` of a curve, and for each the nearest curve entry, roughly.

    The search runs over square cells and a thinned curve; all points of a cell share its answer.
    """
    step = max(2, canvas.rows // 96)
    cell = step * canvas.pixel
    low, high = centre.min(axis=0) - reach, centre.max(axis=0) + reach
    limit = (-(-canvas.columns // step), -(-canvas.rows // step))
    first = [int(np.clip(np.floor(low[a] / cell), 0, limit[a])) for a in (0, 1)]
    last = [int(np.clip(np.ceil(high[a] / cell), 0, limit[a])) for a in (0, 1)]
    across, down = np.meshgrid(np.arange(first[0], last[0]), np.arange(first[1], last[1]))
    left, top = across.ravel(), down.ravel()
    thinned = np.arange(0, _FINE, 8)
    curve = centre[thinned].astype(np.float32)
    middle = (np.stack([left, top], axis=1) + 0.5).astype(np.float32) * np.float32(cell)
    squared = (curve * curve).sum(axis=1) - 2.0 * middle @ curve.T
    nearest = squared.argmin(axis=1)
    distance = np.hypot(*(middle - curve[nearest]).T)
    spacing = float(np.hypot(*np.diff(curve, axis=0).T).max())
    kept = distance <= reach + 0.71 * cell + spacing
    left, top, nearest = left[kept] * step, top[kept] * step, thinned[nearest[kept]]
    inner_row, inner_column = np.divmod(np.arange(step * step), step)
    row, column = top[:, None] + inner_row, left[:, None] + inner_column
    valid = (row < canvas.rows) & (column < canvas.columns)
    entry = np.broadcast_to(nearest[:, None], row.shape)
    return (row * canvas.columns + column)[valid], entry[valid]


def _centre(canvas: Canvas, centre: Point) -> Point:
    """A single position in the picture, as plain numbers so that arrays stay single precision."""
    x, y = canvas.place(np.asarray([centre]))[0]
    return (float(x), float(y))


def _window(canvas: Canvas, middle: Point, reach_x: float, reach_y: float) -> NDArray[np.intp]:
    """All canvas positions of the rectangle around `middle`, flat."""
    ends = (canvas.columns, canvas.rows)
    ranges = []
    for centre, reach, end in zip(middle, (reach_x, reach_y), ends, strict=True):
        first = int(np.clip(np.floor((centre - reach) / canvas.pixel) - 1, 0, end))
        last = int(np.clip(np.ceil((centre + reach) / canvas.pixel) + 1, 0, end))
        ranges.append(np.arange(first, last))
    return (ranges[1][:, None] * canvas.columns + ranges[0][None, :]).ravel()
