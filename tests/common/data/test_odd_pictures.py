"""Files of several pictures, of values that their format does not tell, of no picture at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_folders import autovi, config, mask, mvtec, picture
from odd_pictures import (
    bomb,
    deep,
    deep_colours,
    layered,
    marks,
    no_longer_than,
    packed_12_bits,
    pages,
    pipe,
    turned,
    with_preview,
)
from PIL import Image

from common.data.defects import load_regions, read_defects_config
from common.data.images import open_picture, read_image, read_size, stored_bits, verify_images
from common.data.layout import GOOD, Sample, index_data
from common.data.remarks import image_remarks, range_remark
from common.errors import InputError
from common.inspection.journal import file_digest
from common.patchcore.network.inputs import ImageInput

READERS: list[Callable[[Path], object]] = [
    read_image,
    read_size,
    lambda path: verify_images([path]),
]


def refusals(path: Path) -> set[str]:
    """What every reader says of a file that none of them accepts."""
    said = set()
    for read in READERS:
        with pytest.raises(InputError) as caught:
            read(path)
        said.add(str(caught.value))
    return said


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.tif", "TIFF"), ("a.png", "PNG"), ("a.jpg", "MPO"), ("g.png", "GIF"), ("w.png", "WEBP")],
)
def test_a_file_of_several_pictures_is_refused_by_every_reader(
    tmp_path: Path, name: str, kind: str
) -> None:
    """More than one picture in a file: the first alone would be judged, and nothing said."""
    path = pages(tmp_path / name, 3, kind=kind)
    (said,) = refusals(path)
    assert said.startswith(f"{path}: found 3 pictures in one {kind} file; expected one")


def test_a_mask_of_several_pages_is_refused(tmp_path: Path) -> None:
    """More than one picture in a file, where the file is a mask."""
    home = mvtec(tmp_path)
    path = pages(home / "ground_truth/crack/000_mask.png", kind="PNG")
    index = index_data(tmp_path)
    (sample,) = (s for s in index.samples if s.masks == (path,))
    with pytest.raises(InputError, match=r"000_mask\.png: found 2 pictures in one PNG file"):
        load_regions(sample, index.categories["part"], (24, 16))


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_previews_of_a_picture_are_no_pictures_of_their_own(tmp_path: Path, name: str) -> None:
    """More than one picture in a file: a preview or gain map, as phones add, is not meant."""
    path = with_preview(tmp_path / name, seed=4)
    image = read_image(path)
    assert read_size(path) == (40, 48) == (image.height, image.width)
    verify_images([path])
    alone = tmp_path / f"alone{path.suffix}"
    with Image.open(path) as stored:
        stored.save(alone, format="TIFF" if name == "a.tif" else "JPEG")
    assert np.abs(np.asarray(image).astype(int) - np.asarray(read_image(alone))).mean() < 12


def test_a_preview_is_not_judged_instead_of_the_picture(tmp_path: Path) -> None:
    """More than one picture in a file, the first of which is a small version of the second."""
    (said,) = refusals(with_preview(tmp_path / "a.tif", first=True))
    assert "its first page is a preview of a later one" in said


def test_formats_of_many_sizes_and_layers_are_not_read_by_another_name(tmp_path: Path) -> None:
    """More than one picture in a file: icons of several sizes, called PNG."""
    (said,) = refusals(layered(tmp_path / "a.png"))
    assert "found a file that is not an image of a kind that is read" in said


def test_values_of_a_format_that_states_12_bits_are_scaled_by_12_bits(tmp_path: Path) -> None:
    """Container range is not value range: a TIFF of 12 bits a value came out 16 times too dark."""
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    grey = np.asarray(read_image(packed_12_bits(tmp_path / "a.tif", values)))[..., 1]
    np.testing.assert_array_equal(grey, values.astype(int) * 255 // 4095)
    assert grey.max() == 255


def test_values_outside_16_bits_are_refused_and_not_cut_off(tmp_path: Path) -> None:
    """Container range is not value range: 32-bit values came out black or white."""
    for name, value in (("a.tif", -1), ("b.tif", 65536)):
        values = np.array([[0, value], [5, 6]], dtype=np.int32)
        Image.fromarray(values).save(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: .* where 0 to 65535 are expected"):
            read_image(tmp_path / name)


@pytest.mark.parametrize(("bits", "levels"), [(10, 4), (12, 16), (14, 64)])
@pytest.mark.parametrize("make", [deep, deep_colours])
def test_a_cameras_bits_in_a_16_bit_file_are_told(
    tmp_path: Path, make: Callable[[Path, int, int], Path], bits: int, levels: int
) -> None:
    """Container range is not value range: 12 bits in a 16-bit file leave 16 grey levels."""
    paths = [make(tmp_path / f"{n}.png", bits, n) for n in range(20)]
    with open_picture(paths[0]) as image:
        assert stored_bits(image) == 16
    # The largest value, 2**bits - 1, is divided by 257 (grey) or 256 (colour): levels - 1.
    said = range_remark(paths)
    assert said is not None
    assert said.endswith(f"as of a camera of {bits} bits, leave {levels} of 256 grey levels")


def test_full_16_bit_and_dark_8_bit_images_are_no_cameras_bits(tmp_path: Path) -> None:
    """Container range is not value range: nothing is said where it is."""
    assert range_remark([deep(tmp_path / f"{n}.png", 16, n) for n in range(3)]) is None
    dark = tmp_path / "dark.png"
    Image.new("L", (9, 9), 3).save(dark)
    assert range_remark([dark]) is None
    assert range_remark([]) is None


def test_too_many_pixels_are_not_called_a_truncated_file(tmp_path: Path) -> None:
    """Wrong words: an image above Pillow's limit was "truncated, copy again"."""
    (said,) = refusals(bomb(tmp_path / "a.png"))
    assert "found an image of too many pixels; expected at most 178956970; scale it down" in said


def test_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    """A pipe called like an image blocked whoever opened it, for ever."""
    path = pipe(tmp_path / "a.png")
    with no_longer_than(60):
        (said,) = refusals(path)
        assert said.startswith(f"{path}: found a pipe, socket or device; expected a readable")
        with pytest.raises(InputError, match="found a pipe"):
            ImageInput(path).content_key()
        with pytest.raises(OSError, match="a pipe, socket or device"):
            file_digest(path)
    autovi(tmp_path / "data")
    pipe(tmp_path / "data/part/train/good/9.png")
    with pytest.raises(InputError, match=r"good/9\.png: a pipe, socket or device among files"):
        index_data(tmp_path / "data")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_defect_table_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    """Wrong words: a mark that Windows editors write was told as "restore the file"."""
    path = config(tmp_path / "defects_config.json")
    table = read_defects_config(path)
    path.write_text(json.dumps(json.loads(path.read_text())), encoding=encoding)
    assert read_defects_config(path) == table


def test_a_mask_is_turned_as_its_image_is(tmp_path: Path) -> None:
    """Orientation applied to one of a pair: masks were read as stored, images upright."""
    home = mvtec(tmp_path)
    image, own = home / "test/crack/000.png", home / "ground_truth/crack/000_mask.png"
    index = index_data(tmp_path)
    (sample,) = (s for s in index.samples if s.path == image)
    (before,) = load_regions(sample, index.categories["part"], (24, 16)) or []
    turned(image, 6), turned(own, 6)
    assert read_size(image) == (16, 24)
    (after,) = load_regions(sample, index.categories["part"], (16, 24)) or []
    # Orientation 6: the camera lay on its side, a quarter turn clockwise sets it upright.
    np.testing.assert_array_equal(after.mask, np.rot90(before.mask, -1))


def pair(root: Path, size: tuple[int, int], image: int, mask_: int) -> list[Sample]:
    own, truth = root / "image.png", root / "mask.png"
    turned(picture(own, size), image)
    turned(mask(truth, size=size), mask_)
    return [Sample(own, "nut", "test", 1, "crack", (truth,))]


@pytest.mark.parametrize(
    ("size", "image", "mask_", "told"),
    [
        ((20, 20), 6, 1, True),
        ((20, 20), 1, 6, True),
        ((20, 30), 3, 1, True),
        ((20, 30), 6, 8, True),
        ((20, 30), 6, 1, False),  # the sizes tell: they agree, or the run refuses the mask
        ((20, 20), 6, 6, False),
        ((20, 20), 1, 1, False),
    ],
)
def test_a_run_tells_of_a_pair_of_which_one_is_turned(
    tmp_path: Path, size: tuple[int, int], image: int, mask_: int, told: bool
) -> None:
    """Orientation applied to one of a pair: square, or half a turn, no size tells."""
    remarks = image_remarks(pair(tmp_path, size, image, mask_))
    assert bool(remarks) == told
    assert all(r.startswith("nut: 1 images are turned by their EXIF orientation") for r in remarks)
    assert all(str(tmp_path) not in remark for remark in remarks)


def test_ground_truth_of_good_images_is_no_lost_image(tmp_path: Path) -> None:
    """Wrong words: the empty mask of a good image: "add the image", which is there."""
    for name, make, where in (
        ("nut", mvtec, "ground_truth/good/000_mask.png"),
        ("clip", autovi, "ground_truth/good/0/0000.png"),
    ):
        before = index_data(make(tmp_path, name).parent, [name]).samples
        mask(tmp_path / name / where, 0)
        assert index_data(tmp_path, [name]).samples == before
        assert all(sample.masks == () for sample in before if sample.defect_type == GOOD)


def test_a_wrongly_named_mask_of_an_image_that_is_there(tmp_path: Path) -> None:
    """Wrong words: "add the image" of a mask that only lacks the ending of its name."""
    home = mvtec(tmp_path)
    mask(home / "ground_truth/crack/001.png")
    with pytest.raises(InputError, match=r"crack/001\.png: .* not called 001_mask\.png; rename it"):
        index_data(tmp_path)


def test_good_parts_in_a_training_folder_of_another_name(tmp_path: Path) -> None:
    """Wrong words: `train/ok` was to be moved to test/."""
    home = mvtec(tmp_path)
    (home / "train/good").rename(home / "train/ok")
    with pytest.raises(InputError, match=r"train/good; bring them there if these are good ones"):
        index_data(tmp_path)


def test_marks_are_what_the_other_makers_spoil() -> None:
    assert np.unique(marks()).tolist() == [0, 255]
