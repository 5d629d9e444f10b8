"""Pictures gone wrong: broken files, odd formats, and formats that say more than one thing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from cases import RUNS, Case, Place, every, failed, refused, same, stopped, told
from inspection_cases import SIZE
from pictures import cut_short, pixels, write
from PIL import Image

Spoil = Callable[[Path], object]
ORIENTATION = 0x0112
TURNED = 8
"""EXIF: to be turned to the left, as a camera on its side writes it."""


def saved_as(mode: str, **options: object) -> Spoil:
    """The same picture in another mode or with other options."""
    return lambda path: Image.open(path).convert(mode).save(path, **options)


def in_format(name: str, **options: object) -> Spoil:
    """Another format under the same name."""
    return lambda path: Image.open(path).copy().save(path, name, **options)


def several(name: str) -> Spoil:
    """More than one picture in the file: the other one is its mirror image."""

    def spoil(path: Path) -> None:
        first = Image.open(path).copy()
        second = Image.fromarray(np.asarray(first)[:, ::-1])
        first.save(path, name, save_all=True, append_images=[second])

    return spoil


def as_tiff(spoil: Spoil) -> Spoil:
    """Do it to a TIFF in the picture's place."""

    def make(path: Path) -> None:
        tiff = path.with_suffix(".tif")
        Image.open(path).save(tiff)
        path.unlink()
        spoil(tiff)

    return make


def sixteen_bits(factor: int) -> Spoil:
    """Grey values of 8 bits times `factor`, in a container of 16."""
    return lambda path: write(path, pixels(path)[..., 0].astype(np.uint16) * factor)


def turned(path: Path) -> None:
    """Stored on its side; EXIF says how it is to be turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    Image.fromarray(np.rot90(pixels(path), -1)).save(path, exif=exif)


def of_size(*size: int) -> Spoil:
    return lambda path: Image.open(path).resize(size[::-1]).save(path)


def damaged(path: Path) -> None:
    """Bytes in the middle changed, as by a bad disk."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(bytes(content))


def bomb(path: Path) -> None:
    """One colour, above what Pillow takes for a decompression bomb: 400 million pixels."""
    Image.new("1", (20000, 20000)).save(path)


def replaced(content: bytes) -> Spoil:
    return lambda path: path.write_bytes(content)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


def circular(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


UNREADABLE: dict[str, Spoil] = {
    "cut short": cut_short,
    "empty": replaced(b""),
    "a text": replaced(b"see the other folder"),
    "a web page": replaced(b"<!doctype html><title>404</title>"),
    "zeros": replaced(bytes(3000)),
    "a signature alone": replaced(b"\x89PNG\r\n\x1a\n"),
    "damaged": damaged,
    "a JPEG cut short": lambda path: (in_format("JPEG")(path), cut_short(path)),
    "above Pillow's limit": bomb,
}
NO_FILES: dict[str, Spoil] = {
    "a link to nowhere": dangling,
    "a link to itself": circular,
    "a folder": folder,
    "a pipe": pipe,
}
SEVERAL: dict[str, Spoil] = {
    "a TIFF of two pages": as_tiff(several("TIFF")),
    "an animated PNG": several("PNG"),
    "an animated GIF": several("GIF"),
    "an MPO of two views": several("MPO"),
}
EQUAL: dict[str, Spoil] = {
    "a palette": lambda path: Image.open(path).convert("L").convert("P").save(path),
    "alpha": saved_as("RGBA"),
    "grey": saved_as("L"),
    "grey with alpha": saved_as("LA"),
    "16 bits in full": sixteen_bits(257),
    "TIFF by the name of PNG": in_format("TIFF"),
    "BMP by the name of PNG": in_format("BMP"),
    "one page of TIFF": as_tiff(lambda path: None),
    "interlaced": saved_as("RGB", compress_level=0),
    "turned by EXIF": turned,
    "a name in capitals": lambda path: path.rename(path.with_suffix(".PNG")),
}


def cases() -> Iterator[Case]:
    """A training image, a test image and a photo with each fault."""
    for kind, spoil in {**UNREADABLE, **NO_FILES, **SEVERAL}.items():
        first = "train/good/000"
        runs = refused(first)
        expect = {"check": told(first), **every(f"explore {RUNS}", runs)}
        yield Case(f"training image: {kind}", on_first(spoil), expect)
    for kind, spoil in {**UNREADABLE, **SEVERAL}.items():
        yield Case(f"photo: {kind}", on_photo(spoil), {"inspect": failed("photos/0")})
        expect = {"add": refused("parts/0")}
        yield Case(f"part to add: {kind}", on_part(spoil), expect)
    for kind, spoil in EQUAL.items():
        expect = every("baseline", same)
        yield Case(f"training image: {kind}", on_first(spoil), expect)
        yield Case(f"photo: {kind}", on_photo(spoil), every("inspect", same), renamed=True)


def on_first(spoil: Spoil) -> Callable[[Place], object]:
    return lambda place: spoil(place.first)


def on_photo(spoil: Spoil) -> Callable[[Place], object]:
    return lambda place: spoil(place.photos / "0.png")


def on_part(spoil: Spoil) -> Callable[[Place], object]:
    return lambda place: spoil(place.parts / "0.png")


def on_cut(spoil: Spoil) -> Callable[[Place], object]:
    return lambda place: spoil(place.cut)


def all_photos(spoil: Spoil) -> Callable[[Place], object]:
    return lambda place: [spoil(path) for path in place.photos.iterdir()]


CASES = [
    *cases(),
    Case(
        "test image: cut short",
        on_cut(cut_short),
        {
            "check": told("test/cut/000.png"),
            **every("explore evaluate federate", refused("test/cut/000.png")),
            "baseline": stopped("test/cut/000.png"),
        },
    ),
    Case(
        "training images: 12 bits in 16",
        lambda place: [sixteen_bits(16)(path) for path in place.first.parent.iterdir()],
        {"check": told("16")},
    ),
    Case(
        "photos: 12 bits in 16",
        all_photos(sixteen_bits(1)),
        {"inspect": told("bits")},
    ),
    Case(
        "training image: smaller than the network",
        on_first(of_size(20, 20)),
        {"check": told("train/good/000.png", "20")},
    ),
    Case(
        "training image: of one colour",
        on_first(lambda path: Image.new("RGB", SIZE[::-1], 7).save(path)),
        {"check": told("train/good/000.png")},
    ),
    Case(
        "training image: of another size",
        on_first(of_size(60, 90)),
        {"check": told("train/good/000.png")},
    ),
    Case(
        "training image: also a test image",
        lambda place: place.first.write_bytes((place.home / "test/good/000.png").read_bytes()),
        {"check": told("test/good/000.png")},
    ),
    Case(
        "training image: twice",
        lambda place: place.first.write_bytes((place.first.parent / "001.png").read_bytes()),
        {"check": told("001.png")},
    ),
    Case(
        "defective image with a mask: turned by EXIF",
        on_cut(turned),
        {"check": told("test/cut/000.png", "EXIF"), **every("baseline", same)},
    ),
    Case(
        "an image that nobody reads",
        on_first(lambda path: path.rename(path.with_suffix(".heic"))),
        {"check": told("000.heic"), **every(RUNS, refused("000.heic"))},
    ),
    Case(
        "a photo that nobody reads",
        lambda place: (place.photos / "0.png").rename(place.photos / "0.heic"),
        every("inspect watch", told("0.heic", ".heic", "save it as .png")),
    ),
]
