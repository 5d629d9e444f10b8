"""Image files: every kind upright and in RGB, every broken one a single clear error."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_folders import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from common.data.images import as_rgb, natural_key, read_image, read_size, verify_images
from common.errors import InputError

READERS: list[Callable[[Path], object]] = [
    read_image,
    read_size,
    lambda path: verify_images([path]),
]


def noise(height: int = 6, width: int = 10) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_sizes_are_height_width(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (6, 10))
    assert read_size(path) == (6, 10)
    assert (read_image(path).height, read_image(path).width) == (6, 10)


def test_alpha_makes_no_difference(tmp_path: Path) -> None:
    rgb = noise()
    alpha = np.arange(60, dtype=np.uint8).reshape(6, 10, 1)
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), rgb)


def test_grey_images_have_three_equal_channels(tmp_path: Path) -> None:
    grey = noise()[..., 0]
    wanted = np.repeat(grey[..., None], 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "8.png")
    # 16-bit value = 257 x the 8-bit one: white stays white (65535 / 257 = 255), black black.
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.tif")
    Image.fromarray(grey.astype(np.int32) * 257).save(tmp_path / "32.tif")
    Image.fromarray(np.stack([grey, grey], axis=2)).convert("LA").save(tmp_path / "la.png")
    for name in ("8.png", "16.png", "16.tif", "32.tif", "la.png"):
        image = read_image(tmp_path / name)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(image, wanted, err_msg=name)


def test_cmyk_palette_and_bilevel_images_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (10, 6), (0, 255, 255, 0)).save(tmp_path / "cmyk.tif")
    assert read_image(tmp_path / "cmyk.tif").getpixel((9, 5)) == (255, 0, 0)
    Image.new("RGB", (10, 6), (10, 20, 30)).quantize(4).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").getpixel((9, 5)) == (10, 20, 30)
    Image.new("1", (10, 6), 1).save(tmp_path / "bilevel.png")
    assert read_image(tmp_path / "bilevel.png").getpixel((9, 5)) == (255, 255, 255)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((6, 10), 0.5, dtype=np.float32))
    image.save(tmp_path / "f.tif")
    with pytest.raises(InputError, match=r"f\.tif: found .*floating-point.*8 or 16 bits"):
        read_image(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="floating-point"):
        as_rgb(image)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_obeyed(tmp_path: Path, suffix: str, orientation: int) -> None:
    """The upright image has its white corner at the top left, and is wider than high."""
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert read_size(path) == (16, 32)
    image = np.asarray(read_image(path)).astype(int)
    assert image.shape == (16, 32, 3)
    assert np.abs(image - upright).mean() < 3  # JPEG is lossy


def test_the_size_is_read_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [picture(tmp_path / f"a.{suffix}") for suffix in ("png", "jpg", "tif", "bmp")]

    def refuse(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    for kind in ("PngImagePlugin.PngImageFile", "JpegImagePlugin.JpegImageFile"):
        module, name = kind.split(".")
        cls = getattr(__import__(f"PIL.{module}", fromlist=[name]), name)
        monkeypatch.setattr(cls, "load", refuse)
    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert [read_size(path) for path in paths] == [(24, 16)] * 4


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_image_is_one_error_that_names_the_path(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    for name, found in {
        "text.png": "a file that is not an image",
        "empty.png": "an empty file",
        "folder.png": "a folder",
        "link.png": "no such file",
        "absent.png": "no such file",
    }.items():
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: found {found}")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_truncated_files_are_found_by_both_readers(
    tmp_path: Path, suffix: str, share: float
) -> None:
    path = picture(tmp_path / f"a.{suffix}", (40, 40))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    for read in (read_image, lambda path: verify_images([path])):
        with pytest.raises(InputError, match=r"a\.\w+: found .*truncated or corrupt"):
            read(path)


def test_a_flipped_bit_in_a_png_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", (40, 40))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png: found"):
        verify_images([path])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_any_damage_is_an_input_error_or_a_readable_image(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(1)
    path = picture(tmp_path / f"a.{suffix}")
    data = path.read_bytes()
    for number in range(100):
        broken = bytearray(data)
        for _ in range(1 + number % 5):
            broken[rng.randrange(min(len(broken), 300))] = rng.randrange(256)
        path.write_bytes(broken[: rng.randrange(len(broken)) if number % 3 == 0 else None])
        for read in READERS:
            try:
                read(path)
            except InputError as error:
                named = str(path) in str(error)
                assert named, error  # noqa: PT017


def test_the_first_bad_file_in_order_is_named(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png") for n in range(8)]
    verify_images(paths)
    for number in (6, 3):
        paths[number].write_text("broken")
    with pytest.raises(InputError, match=r"3\.png"):
        verify_images(paths, workers=3)


def test_natural_order() -> None:
    names = ["10.png", "9.png", "a10b2", "a2b10", "01.png", "1.png", "a", "²", "x²1"]
    assert sorted(names, key=natural_key) == [
        "01.png",
        "1.png",
        "9.png",
        "10.png",
        "a",
        "a2b10",
        "a10b2",
        "x²1",
        "²",
    ]


@given(st.lists(st.text(alphabet="019a²٣-._", max_size=6), unique=True))
def test_natural_order_is_total(names: list[str]) -> None:
    keys = [natural_key(name) for name in names]
    assert len(set(keys)) == len(names)
    turned = names[::-1]
    assert sorted(names, key=natural_key) == sorted(turned, key=natural_key)
