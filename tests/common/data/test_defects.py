"""`defects_config.json` and ground-truth regions: values, and one clear error for each fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_folders import CONFIG, autovi, config, mask, mvtec
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.data.defects import load_regions, read_defects_config
from common.data.layout import Sample, index_data
from common.data.regions import Region, saturation_area
from common.data.samples import DefectEntry
from common.errors import InputError

SIZE = (24, 16)


def regions(root: Path, defect: str, position: int = 0) -> list[Region]:
    index = index_data(root)
    sample = [s for s in index.samples if s.defect_type == defect and s.label][position]
    found = load_regions(sample, index.categories["part"], SIZE)
    assert found is not None
    return found


def test_regions_have_the_type_of_their_grey_value_not_of_their_folder(tmp_path: Path) -> None:
    autovi(tmp_path)
    # Both masks mark 2 x 3 = 6 pixels: dent saturates at half of them, hole at 3 pixels.
    (dent,) = regions(tmp_path, "dent")
    assert (dent.defect_type, dent.saturation_area, dent.mask.sum()) == ("dent", 3, 6)
    assert dent.mask.shape == SIZE
    assert dent.mask[2:4, 9:12].all()
    hole, other = regions(tmp_path, "hole")
    assert [hole.defect_type, other.defect_type] == ["hole", "dent"]
    assert hole.saturation_area == 3


def test_mvtec_regions_are_connected_by_corners_too(tmp_path: Path) -> None:
    home = mvtec(tmp_path)
    grey = np.zeros(SIZE, dtype=np.uint8)
    grey[0, 0] = grey[1, 1] = 255  # one region: the two touch at a corner
    grey[10:12, 5:9] = 128  # another, of 8 pixels
    Image.fromarray(grey).save(home / "ground_truth/crack/000_mask.png")
    first, second = regions(tmp_path, "crack")
    assert (first.mask.sum(), first.saturation_area, first.defect_type) == (2, 2, "crack")
    assert (second.mask.sum(), second.saturation_area) == (8, 8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_the_mode_of_a_mask_makes_no_difference(tmp_path: Path, mode: str) -> None:
    home = autovi(tmp_path)
    path = home / "ground_truth/dent/0/0000.png"
    (wanted,) = regions(tmp_path, "dent")
    Image.open(path).convert("L").convert(mode).save(path)
    (found,) = regions(tmp_path, "dent")
    np.testing.assert_array_equal(found.mask, wanted.mask)


def write_grey(path: Path, grey: Any) -> None:
    Image.fromarray(np.asarray(grey)).save(path)


def fault_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def fault_empty_file(path: Path) -> None:
    path.write_bytes(b"")


def fault_text(path: Path) -> None:
    path.write_text("no image")


def fault_size(path: Path) -> None:
    mask(path, size=(16, 24))


def fault_nothing_marked(path: Path) -> None:
    mask(path, 0)


def fault_two_values(path: Path) -> None:
    grey = np.zeros(SIZE, dtype=np.uint8)
    grey[0], grey[1] = 255, 200
    write_grey(path, grey)


def fault_unknown_value(path: Path) -> None:
    mask(path, 77)


def fault_colours(path: Path) -> None:
    Image.new("RGB", SIZE[::-1], (0, 255, 0)).save(path)


def fault_16_bit(path: Path) -> None:
    write_grey(path, np.full(SIZE, 255, dtype=np.uint16))


FAULTS = {
    fault_truncated: "truncated",
    fault_empty_file: "an empty file",
    fault_text: "not an image",
    fault_size: "mask is 24x16, its image 0.png is 16x24",
    fault_nothing_marked: "no pixel above 0",
    fault_two_values: r"grey values [200, 255]",
    fault_unknown_value: "grey value 77 is not in defects_config.json, which knows [200, 255]",
    fault_colours: "found colours",
    fault_16_bit: "expected an 8-bit mask",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_unusable_mask_is_one_error_that_names_it(tmp_path: Path, fault: Any) -> None:
    path = autovi(tmp_path) / "ground_truth/dent/0/0000.png"
    fault(path)
    with pytest.raises(InputError) as caught:
        regions(tmp_path, "dent")
    assert str(caught.value).startswith(f"{path}: ")
    assert FAULTS[fault] in str(caught.value)


def test_a_mask_that_has_gone(tmp_path: Path) -> None:
    home = autovi(tmp_path)
    index = index_data(tmp_path)
    path = home / "ground_truth/dent/0/0000.png"
    path.unlink()
    sample: Sample = next(s for s in index.samples if s.label)
    with pytest.raises(InputError, match=r"0000\.png: found no such file"):
        load_regions(sample, index.categories["part"], SIZE)


def test_an_empty_mvtec_mask(tmp_path: Path) -> None:
    home = mvtec(tmp_path)
    mask(home / "ground_truth/crack/000_mask.png", 0)
    with pytest.raises(InputError, match=r"000_mask\.png: found no pixel above 0"):
        regions(tmp_path, "crack")


def test_the_config_is_read(tmp_path: Path) -> None:
    assert read_defects_config(config(tmp_path / "c.json")) == {
        255: DefectEntry("dent", 255, 0.5, True),
        200: DefectEntry("hole", 200, 3.0, False),
    }


def changed(**changes: Any) -> list[dict[str, Any]]:
    return [{**CONFIG[0], **changes}]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "expected a list"),
        ([{"defect_name": "dent"}], "entry 0: 'pixel_value' is missing"),
        (["dent"], "entry 0: "),
        ([CONFIG[0], CONFIG[0]], "entry 1: pixel_value 255 occurs twice"),
        (changed(defect_name=""), "defect_name ''"),
        (changed(defect_name=None), "defect_name None"),
        (changed(pixel_value=0), "pixel_value 0; expected 1 to 255"),
        (changed(pixel_value=256), "pixel_value 256"),
        (changed(pixel_value="255"), "pixel_value '255'"),
        (changed(pixel_value=True), "pixel_value True"),
        (changed(saturation_threshold=0), "saturation_threshold 0"),
        (changed(saturation_threshold=True), "saturation_threshold True"),
        (changed(saturation_threshold=float("nan")), "saturation_threshold nan"),
        (
            changed(saturation_threshold=float("inf"), relative_saturation=False),
            "saturation_threshold inf",
        ),
        (changed(saturation_threshold=1.5), "relative saturation_threshold 1.5"),
        (changed(relative_saturation="false"), "relative_saturation 'false'"),
    ],
)
def test_a_bad_config_is_one_error_that_names_the_entry(
    tmp_path: Path, entries: Any, said: str
) -> None:
    path = config(tmp_path / "defects_config.json", entries)
    with pytest.raises(InputError) as caught:
        read_defects_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_a_config_that_is_no_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "defects_config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"defects_config\.json: not readable as JSON"):
        read_defects_config(path)


def test_saturation_areas() -> None:
    # Relative: int(0.7 x 10) = 7. Absolute: min(300, area). Never below one pixel.
    assert saturation_area(10, 0.7, True) == 7
    assert saturation_area(10, 300, False) == 10
    assert saturation_area(1000, 300, False) == 300
    assert saturation_area(1, 0.5, True) == 1
    assert saturation_area(5, 0.5, False) == 1


@given(st.integers(1, 10**6), st.floats(1e-3, 1.0))
def test_a_saturation_area_is_within_the_region(area: int, threshold: float) -> None:
    assert 1 <= saturation_area(area, threshold, True) <= area
    assert 1 <= saturation_area(area, threshold * area, False) <= area


@pytest.mark.realdata
def test_real_masks_of_the_published_form(test_data: Path) -> None:
    index = index_data(test_data / "parts")
    category = index.categories["bottle"]
    facts = json.loads((category.folder / "defects_config.json").read_text())
    assert {entry["pixel_value"] for entry in facts} == set(category.defects or {})
    kinds = {"broken_large": 20, "broken_small": 22, "contamination": 21}
    for kind, count in kinds.items():
        own = [s for s in index.select("test") if s.defect_type == kind]
        assert len(own) == count
        (region,) = load_regions(own[0], category, (400, 400)) or []
        assert region.defect_type == kind
        assert 0 < region.saturation_area <= region.mask.sum()
