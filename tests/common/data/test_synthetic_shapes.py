"""The synthetic set's geometry and light, against obvious twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_interp_spline
from scipy.spatial import cKDTree

from common.data.synthetic.canvas import Canvas, Fragments, Pose
from common.data.synthetic.light import Light, Material
from common.data.synthetic.shapes import box, disc, polygon, tube

ABOVE = np.array([0.0, 0.0, 1.0], dtype=np.float32)
UPPER_LEFT = np.array([-0.5, -0.5, np.sqrt(0.5)], dtype=np.float32)


def canvas(light: np.ndarray = ABOVE, pose: Pose | None = None) -> Canvas:
    """A picture of 60 x 80 pixels, drawn at 120 x 160 points; 1.333 wide, 1 high."""
    return Canvas((60, 80), 2, Light(light, 0.0, 0.0), pose or Pose())


def area(on: Canvas, shape: Fragments) -> float:
    assert len(np.unique(shape.index)) == len(shape.index)
    assert (shape.alpha > 0).all()
    assert (shape.alpha <= 1).all()
    return float(shape.alpha.sum() * on.pixel**2)


def test_areas_are_those_of_geometry() -> None:
    on = canvas()
    assert area(on, disc(on, (0.6, 0.5), 0.3)) == pytest.approx(np.pi * 0.3**2, rel=0.005)
    assert area(on, box(on, (0.6, 0.5), (0.3, 0.1), angle=0.4)) == pytest.approx(0.12, rel=0.02)
    # Round corners of radius 0.05 lack (4 - pi) of its square.
    rounded = box(on, (0.6, 0.5), (0.3, 0.1), corner=0.05)
    assert area(on, rounded) == pytest.approx(0.12 - (4 - np.pi) * 0.05**2, rel=0.02)
    straight = tube(on, [(0.2, 0.2), (0.8, 0.65)], 0.05)
    assert area(on, straight) == pytest.approx(0.75 * 0.1, rel=0.03)
    ended = tube(on, [(0.2, 0.2), (0.8, 0.65)], 0.05, rounded=True)
    assert area(on, ended) == pytest.approx(0.75 * 0.1 + np.pi * 0.05**2, rel=0.03)
    triangle = polygon(on, [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9)])
    # A polygon includes the drawn points on its outline: half a point around 2.73 of length.
    assert area(on, triangle) == pytest.approx(0.32 + 0.5 * 2.73 * on.pixel, rel=0.02)


@settings(max_examples=15, deadline=None)
@given(
    heights=st.lists(st.floats(0.4, 0.6), min_size=3, max_size=5),
    radius=st.floats(0.02, 0.05),
    angle=st.floats(-0.1, 0.1),
)
def test_a_tube_covers_what_is_near_its_curve(
    heights: list[float], radius: float, angle: float
) -> None:
    on = canvas(pose=Pose(shift=(0.02, -0.01), angle=angle))
    points = [(x, y) for x, y in zip(np.linspace(0.2, 1.1, len(heights)), heights, strict=True)]
    shape = tube(on, points, radius, rounded=True)
    # Slow twin: every drawn point is compared with many points of the spline through the marks.
    marks = on.place(np.asarray(points))
    chord = np.append(0.0, np.hypot(*np.diff(marks, axis=0).T).cumsum())
    curve = make_interp_spline(chord, marks, k=min(3, len(marks) - 1))(
        np.linspace(0.0, chord[-1], 500)
    )
    x, y = on.position(np.arange(on.rows * on.columns))
    distance = cKDTree(curve).query(np.stack([x, y], axis=1))[0]
    inside = np.zeros(x.shape, dtype=bool)
    inside[shape.index[shape.alpha > 0.5]] = True
    assert not (inside & (distance > radius + on.pixel)).any()
    assert not (~inside & (distance < radius - on.pixel)).any()


def test_a_tube_is_lit_on_the_lamp_side() -> None:
    on = canvas(UPPER_LEFT)
    shape = tube(on, [(0.667, -0.1), (0.667, 1.1)], 0.2)
    on.paint(shape, Material((0.5, 0.5, 0.5), specular=0.0))
    row = on.picture()[0, 30]
    left, right = row[32:36].mean(), row[44:48].mean()
    assert left > 1.5 * right
    assert row[20] == 0.0  # beside the tube nothing is painted


def test_a_flat_surface_keeps_its_colour() -> None:
    light = Light(UPPER_LEFT, 0.0, 0.0)
    material = Material((0.2, 0.4, 0.6), specular=0.0)
    flat = np.zeros(4, dtype=np.float32)
    shaded = light.shade(flat, flat, material, material.tinted(1.0))
    assert shaded == pytest.approx(np.tile([[0.2], [0.4], [0.6]], 4))


def test_a_shadow_falls_away_from_the_lamp() -> None:
    on = canvas(UPPER_LEFT)
    on.fill(Material((1.0, 1.0, 1.0)), np.ones(on.rows * on.columns, dtype=np.float32))
    on.shadow(disc(on, (0.667, 0.5), 0.1), lift=0.12, strength=0.5)
    picture = on.picture()[0]
    down, across = np.nonzero(picture < 0.9)
    # Lit from the upper left at 45 degrees over the diagonal: 0.12 * 0.5 / 0.707 of a height each.
    assert down.mean() / 60 == pytest.approx(0.5 + 0.085, abs=0.02)
    assert across.mean() / 60 == pytest.approx(0.667 + 0.085, abs=0.02)
    assert picture.min() == pytest.approx(0.5, abs=0.1)
    assert picture[5, 5] == 1.0


def test_a_mask_is_what_is_covered_by_half() -> None:
    on = canvas()
    shape = box(on, (0.5, 0.5), (0.2, 0.1), bevel=0.01)
    mask = on.mask([shape])
    # x from 0.3 to 0.7, y from 0.4 to 0.6 of 60 pixels.
    expected = np.zeros((60, 80), dtype=bool)
    expected[24:36, 18:42] = True
    np.testing.assert_array_equal(mask, expected)
    assert not on.mask([]).any()


def test_what_lies_outside_the_picture_is_empty() -> None:
    on = canvas()
    for shape in (
        disc(on, (3.0, 0.5), 0.1),
        box(on, (-2.0, 0.5), (0.1, 0.1)),
        tube(on, [(2.0, 2.0), (2.5, 2.5)], 0.1),
        polygon(on, [(2.0, 2.0), (2.5, 2.0), (2.0, 2.5)], edge=0.02),
    ):
        assert shape.index.size == 0
        on.paint(shape, Material((1.0, 1.0, 1.0)), lift=0.05)
        on.shadow(shape, 0.05)
    assert (on.picture() == 0.0).all()
