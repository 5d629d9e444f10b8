"""Where a map is above the threshold, and the picture that shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from common.inspection.overlay import draw_overlay, save_picture
from common.inspection.regions import SuspiciousRegion, find_regions

CYAN = (0, 229, 255)


def flood(above: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """Slow twin: connected pixels by walking."""
    left = {(int(row), int(column)) for row, column in np.argwhere(above)}
    groups = []
    while left:
        group, edge = set(), [left.pop()]
        while edge:
            row, column = edge.pop()
            group.add((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        groups.append(group)
    return groups


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_regions_are_those_of_a_walk_over_the_pixels(seed: int, height: int, width: int) -> None:
    scores = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    found = find_regions(scores, 0.6)
    walked = {
        (
            min(r for r, _ in group),
            min(c for _, c in group),
            max(r for r, _ in group),
            max(c for _, c in group),
            len(group),
            max(float(scores[place]) for place in group),
        )
        for group in flood(scores > 0.6)
    }
    assert walked == {
        (f.top, f.left, f.top + f.height - 1, f.left + f.width - 1, f.area, f.peak) for f in found
    }
    assert all(float(scores[f.peak_row, f.peak_column]) == f.peak for f in found)
    assert [f.peak for f in found] == sorted((f.peak for f in found), reverse=True)


def test_one_region_by_hand() -> None:
    scores = np.zeros((6, 10), dtype=np.float32)
    scores[2, 7], scores[3, 8], scores[4, 8] = 2.0, 5.0, 1.0  # 1.0 is at the threshold, not above
    assert find_regions(scores, 1.0) == [SuspiciousRegion(2, 7, 2, 2, 2, 5.0, 3, 8)]
    assert find_regions(scores, 5.0) == []


def test_the_overlay_shows_heat_where_the_map_is_high_and_the_image_elsewhere() -> None:
    image = np.full((30, 50, 3), 100, dtype=np.uint8)
    scores = np.zeros((30, 50), dtype=np.float32)
    scores[20:24, 40:45] = 8.0
    drawn = draw_overlay(image, scores, (1.0, 8.0), 4.0)
    assert drawn.shape == image.shape
    assert (drawn[:18] == 100).all()
    assert (drawn[:, :38] == 100).all()
    # Inferno ends in (252, 255, 164) at 70 %: 0.7 * 252 + 0.3 * 100 = 206.4, and so on.
    assert drawn[21, 42].tolist() == [206, 208, 145]
    # The outline lies around the region, one pixel wide in so small a picture.
    assert drawn[19, 42].tolist() == list(CYAN)
    assert drawn[24, 42].tolist() == list(CYAN)
    assert drawn[18, 42].tolist() == [100, 100, 100]


def test_colours_depend_on_the_scale_and_not_on_the_map() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    low, high = np.full((4, 4), 2.0, np.float32), np.full((4, 4), 2.0, np.float32)
    high[0, 0] = 90.0
    first = draw_overlay(image, low, (1.0, 4.0), None)
    second = draw_overlay(image, high, (1.0, 4.0), None)
    assert (first[1:] == second[1:]).all()
    assert (first[0, 0] != second[0, 0]).any()


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="equal"):
        draw_overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.float32), (0, 1), None)


def test_pictures_are_written_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    save_picture(pixels, tmp_path / "a" / "b.png")
    assert (np.asarray(Image.open(tmp_path / "a" / "b.png")) == pixels).all()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.png"]
