"""Names gone wrong: odd letters, long names, names of the program's own, paths of many forms."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator

from cases import RUNS, Case, Expected, Make, Place, every, refused, same, told

NAMES = {
    "with an umlaut": "Schlüssel",
    "decomposed, as macOS writes it": unicodedata.normalize("NFD", "Schlüssel"),
    "in Japanese": "ボルト",
    "in a script from right to left": "מכסה",
    "outside the basic plane": "bolt 🔩",
    "with brackets": "nut [m8]",
    "like markup": "[bold red]nut[b]",
    "with spaces": "two  words ",
    "with a leading dash": "--out",
    "with dots": "v1.2..3",
    "with quotes": "6\" 'long'",
    "with a backslash free of meaning": "100%",
    "of the digit 1": "1",
    "as the program's folder": "model",
    "as the program's method": "centralized",
    "as the program's bank": "shared",
    "as the program's sum": "mean",
    "as one of all": "all",
    "like a setting": "seed=7",
    "like a number": "1e5",
}
LONG = "000" + "p" * 248 + ".png"
"""255 bytes: as long as a name may be."""
LONG_UMLAUTS = "000" + "ü" * 124 + ".png"
NO_TEXT = os.fsdecode(b"000-\xff.png")


def category(name: str) -> Make:
    def make(place: Place) -> None:
        place.home.rename(place.data / name)

    return make


def defect_type(name: str) -> Make:
    def make(place: Place) -> None:
        for folder in ("test", "ground_truth"):
            (place.home / folder / "cut").rename(place.home / folder / name)

    return make


def photo(name: str) -> Make:
    return lambda place: (place.photos / "0.png").rename(place.photos / name)


def training_image(name: str) -> Make:
    return lambda place: place.first.rename(place.first.with_name(name))


def data_root(name: str) -> Make:
    def make(place: Place) -> None:
        place.data = place.data.rename(place.root / name)

    return make


def photos(name: str) -> Make:
    def make(place: Place) -> None:
        place.photos = place.photos.rename(place.root / name)

    return make


def out(name: str) -> Make:
    def make(place: Place) -> None:
        place.out = name

    return make


def in_home(place: Place) -> None:
    place.environment["HOME"] = str(place.root)
    place.out = "~/out"


def through(place: Place) -> None:
    (place.root / "other").mkdir()
    place.out = "other/../out"


FEDERATED = ("with brackets", "outside the basic plane", "decomposed, as macOS writes it")
"""Categories that `federate` sees, too: some of each kind, as each takes a second."""


def cases() -> Iterator[Case]:
    for kind, name in NAMES.items():
        more = " federate" if kind in FEDERATED else ""
        yield Case(
            f"category {kind}",
            category(name),
            every(f"baseline{more}", same),
            renamed=True,
        )
        yield Case(f"defect type {kind}", defect_type(name), every("baseline", same), renamed=True)
    for kind in ("with brackets", "outside the basic plane", "like markup", "with a leading dash"):
        name = NAMES[kind]
        yield Case(f"data folder {kind}", data_root(name), every(f"check {RUNS}", same))
        yield Case(f"photos in a folder {kind}", photos(name), every("inspect", same))
        yield Case(f"--out {kind}", out(name), every("baseline inspect", same))


def shown(*words: str) -> dict[str, Expected]:
    return {"check": told(*words), **every(RUNS, refused(*words))}


CASES = [
    *cases(),
    Case("photo of 255 bytes", photo(LONG), every("inspect watch", same), renamed=True),
    Case("photo of 255 bytes, umlauts", photo(LONG_UMLAUTS), every("inspect", same), renamed=True),
    Case("photo that is no UTF-8", photo(NO_TEXT), every("inspect watch", same), renamed=True),
    Case("training image of 255 bytes", training_image(LONG), every("baseline explore", same)),
    Case("training image that is no UTF-8", training_image(NO_TEXT), every("baseline", same)),
    Case(
        "category that is no UTF-8",
        category(os.fsdecode(b"bolt-\xff")),
        shown("bolt-"),
    ),
    Case("category as a split", category("test"), {"baseline": refused("data")}),
    Case("category of 255 bytes", category("c" * 255), every("baseline", same), renamed=True),
    Case("category of 255 bytes, looked at", category("c" * 255), {"explore": told("c" * 255)}),
    Case(
        "category with a line break",
        category("two\nlines"),
        {"check": told("line"), **every(RUNS, refused("two\\nlines"))},
    ),
    Case("--out in the home folder", in_home, {"baseline": same}),
    Case("--out through another folder", through, every("baseline inspect", same)),
]
