"""Defects smaller than a patch: counted as a slow twin counts them, with advice that is true."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.evaluation.defect_sizes import DefectSize, defect_size, small_defects

sizes = st.lists(st.builds(DefectSize, st.integers(1, 60), st.integers(60, 130)), max_size=12)


def twin(known: list[DefectSize], stride: int, image_size: int) -> int:
    """How many boxes are shorter than a patch, in pixels of the file, one by one."""
    count = 0
    for extent, side in known:
        scale = Fraction(image_size, side) if image_size else Fraction(1)
        count += extent < stride / scale
    return count


@settings(max_examples=200, deadline=None)
@given(known=sizes, stride=st.sampled_from([4, 8, 14, 16]), image_size=st.integers(0, 300))
def test_small_ones_are_counted_as_by_hand(
    known: list[DefectSize], stride: int, image_size: int
) -> None:
    found = small_defects(known, stride, image_size)
    wanted = twin(known, stride, image_size)
    assert (found.count if found else 0) == wanted
    if found is None:
        return
    # What is small now may be none of those that the own size makes small: count over these only.
    small = [one for one in known if twin([one], stride, image_size)]
    assert found.total == len(known)
    assert found.own == twin(small, stride, 0)
    assert twin(small, stride, found.needed) == 0
    assert found.needed == 1 or twin(small, stride, found.needed - 1) > 0


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 999))
def test_the_box_of_a_region(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.1
    mask[height // 2, width // 2] = True
    places = [(y, x) for y in range(height) for x in range(width) if mask[y, x]]
    rows, columns = zip(*places, strict=True)
    longest = max(max(rows) - min(rows), max(columns) - min(columns)) + 1
    assert defect_size(mask) == (longest, min(height, width))


def test_a_long_thin_scratch_is_not_small() -> None:
    scratch = np.zeros((100, 200), dtype=bool)
    scratch[50, 10:90] = True
    assert defect_size(scratch) == (80, 100)
    assert small_defects([defect_size(scratch)], 8, 0) is None


@pytest.mark.parametrize(
    ("known", "image_size", "said"),
    [
        # 8 x 400 / 256 = 12.5; 8 x 400 / 10 = 320: a box of 10 is one patch there.
        (
            [(10, 400), (12, 400), (13, 400)],
            256,
            "2 of 3 annotated defects are smaller than one patch (8x8 pixels of the network's "
            "input = 12.5x12.5 of the file): use image-size=0 (own size) or at least 320",
        ),
        (
            [(6, 400), (10, 800)],
            256,
            "2 of 2 annotated defects are smaller than one patch (8x8 pixels of the network's "
            "input = 12.5x12.5 to 25x25 of the files): with image-size=0 (own size) 1 would be, "
            "with 640 none",
        ),
        (
            [(7, 400), (70, 400)],
            0,
            "1 of 2 annotated defects is smaller than one patch (8x8 pixels of the network's "
            "input = 8x8 of the file): image-size=458 would leave none, and scale images up",
        ),
        (
            [(2, 400)],
            0,
            "1 of 1 annotated defects is smaller than one patch (8x8 pixels of the network's "
            "input = 8x8 of the file): no image-size helps: look whether they are specks of a "
            "mask, or take nearer images",
        ),
        (
            [(2, 400), (10, 400)],
            256,
            "2 of 2 annotated defects are smaller than one patch (8x8 pixels of the network's "
            "input = 12.5x12.5 of the file): with image-size=0 (own size) 1 would be",
        ),
    ],
)
def test_what_is_said_of_them(known: list[tuple[int, int]], image_size: int, said: str) -> None:
    found = small_defects((DefectSize(*one) for one in known), 8, image_size)
    assert found is not None
    assert found.sentence == said
