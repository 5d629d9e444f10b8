"""Masks gone wrong: what an evaluator would read another way than it was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from cases import RUNS, Case, Expected, Make, Place, every, refused, same, stopped, told
from folders import in_autovi
from images import as_tiff, saved_as, several, turned
from inspection_cases import SIZE
from numpy.typing import NDArray
from pictures import cut_short, draw_mask, pixels, write
from PIL import Image, ImageFilter

Spoil = Callable[[Path], object]


def painted(change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Spoil:
    return lambda path: write(path, change(pixels(path)))


def with_specks(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey[4, 4] = grey[9, 40] = grey[20, 20] = 255
    return grey


def jpeg(path: Path) -> None:
    Image.open(path).copy().save(path, "JPEG", quality=40)


def soft(path: Path) -> None:
    Image.open(path).filter(ImageFilter.GaussianBlur(2)).save(path)


def two_levels(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey[36:42][grey[36:42] > 0] = 128
    return grey


def on_mask(spoil: Spoil) -> Make:
    return lambda place: spoil(place.mask)


def on_autovi(spoil: Spoil) -> Make:
    return in_autovi(lambda place: spoil(place.home / "ground_truth/cut/000/0000.png"))


def emptied(place: Place) -> None:
    write(place.mask, np.zeros(SIZE, np.uint8))


BROKEN: dict[str, Spoil] = {
    "cut short": cut_short,
    "a text": lambda path: path.write_bytes(b"to be drawn"),
    "of half the size": lambda path: draw_mask(path, size=(SIZE[0] // 2 * 2 - 4, SIZE[1])),
    "empty": painted(np.zeros_like),
    "of two frames": several("GIF"),
}
IMPLAUSIBLE: dict[str, Spoil] = {
    "compressed as JPEG": jpeg,
    "with a soft edge": soft,
    "inverted": painted(lambda grey: 255 - grey),
    "with specks": painted(with_specks),
    "of two levels": painted(two_levels),
    "all of the image": painted(lambda grey: np.full_like(grey, 255)),
}
EQUAL: dict[str, Spoil] = {
    "in colour": saved_as("RGB"),
    "with alpha": saved_as("LA"),
    "of one bit": saved_as("1"),
    "of the value 1": painted(lambda grey: grey // 255),
    "with a palette": saved_as("P"),
}


def cases() -> Iterator[Case]:
    where = "ground_truth/cut/000_mask.png"
    for kind, spoil in BROKEN.items():
        yield Case(kind, on_mask(spoil), stops(where))
        if kind != "of two frames":
            yield Case(f"{kind}, AutoVI", on_autovi(spoil), stops("cut/000/0000.png"))
    for kind, spoil in IMPLAUSIBLE.items():
        yield Case(kind, on_mask(spoil), {"check": told(where)})
    for kind, spoil in EQUAL.items():
        yield Case(kind, on_mask(spoil), {"check": same, **every(f"evaluate {RUNS}", same)})


def stops(*words: str) -> dict[str, Expected]:
    return {"check": told(*words), **every(f"evaluate {RUNS}", stopped(*words))}


CASES = [
    *cases(),
    Case("turned by EXIF", on_mask(turned), {"check": told("000", "EXIF")}),
    Case(
        "as TIFF",
        on_mask(as_tiff(lambda path: None)),
        {"check": told("cut/000"), **every(f"evaluate {RUNS}", refused("cut/000"))},
    ),
    Case(
        "of a grey value that nobody explains, AutoVI",
        on_autovi(painted(lambda grey: grey // 255 * 99)),
        stops("cut/000/0000.png", "99"),
    ),
    Case(
        "of two grey values, AutoVI",
        on_autovi(painted(two_levels)),
        stops("cut/000/0000.png"),
    ),
    Case(
        "an empty one of a good image, AutoVI",
        in_autovi(
            lambda place: write(
                place.home / "ground_truth/good/000/0000.png", np.zeros(SIZE, np.uint8)
            )
        ),
        {"check": told("0 errors"), "baseline": same},
    ),
    Case(
        "an empty one of a good image",
        lambda place: write(
            place.home / "ground_truth/good/000_mask.png", np.zeros(SIZE, np.uint8)
        ),
        {"check": told("0 errors"), "baseline": same},
    ),
]
