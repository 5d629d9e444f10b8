"""Experiment files gone wrong: not YAML, keys twice, names and values that mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cases import Case, Make, Place, refused, same

TEXTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "empty"),
    "only comments": ("# to be written\n", "empty"),
    "a key twice": ("data: data\nseeds: [1]\nseeds: [2]\n", "seeds"),
    "a key twice in the settings": (
        "data: data\nsettings: {image-size: 32, image-size: 64}\n",
        "image-size",
    ),
    "a list": ("- 1\n", "list"),
    "one word": ("yes\n", "plan.yaml"),
    "not closed": ("seeds: [1\n", "YAML"),
    "tabs": ("settings:\n\tseed: 1\n", "YAML"),
    "two documents": ("data: data\n---\ndata: data\n", "plan.yaml"),
    "bytes that are no text": (b"data: d\xff\n", "plan.yaml"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "plan.yaml"),
    "Python in it": ("data: !!python/object/apply:os.getcwd []\n", "plan.yaml"),
    "a key that nobody knows": ("data: data\nsedes: [1]\n", "seeds"),
    "a method that nobody knows": ("data: data\nmethods: [pooled]\n", "pooled"),
    "a partition that nobody knows": ("data: data\npartitions: [random]\n", "random"),
    "no seeds": ("data: data\nseeds: []\n", "seeds"),
    "a seed twice": ("data: data\nseeds: [1, 1]\n", "twice"),
    "a seed in words": ("data: data\nseeds: [one]\n", "one"),
    "a setting out of its range": ("data: data\nsettings: {batch-size: 0}\n", "batch-size"),
    "a setting that nobody knows": ("data: data\nsettings: {bank-sise: 3}\n", "bank-sise"),
    "a setting of the lists": ("data: data\nsettings: {seed: 3}\n", "seeds"),
    "no such data": ("data: nowhere\nmethods: [centralized]\n", "nowhere"),
    "data that is a number": ("data: 3\n", "data"),
}


def written(text: str | bytes) -> Make:
    content = text.encode() if isinstance(text, str) else text
    return lambda place: place.plan.write_bytes(content)


def changed(change: Callable[[bytes], bytes]) -> Make:
    return lambda place: place.plan.write_bytes(change(place.plan.read_bytes()))


def elsewhere(place: Place) -> None:
    place.plan = place.root / "nowhere.yaml"


def a_folder(place: Place) -> None:
    place.plan = place.data


def cases() -> Iterator[Case]:
    for kind, (text, word) in TEXTS.items():
        yield Case(kind, written(text), {"experiment": refused("plan.yaml", word)})


def linked(place: Place) -> None:
    """Paths in the file lie beside it, or beside the link: both are the same here."""
    plan = place.root / "linked.yaml"
    plan.symlink_to(place.plan.name)
    place.plan = plan


CASES = [
    *(case for case in cases() if case.name != "no such data"),
    Case("no such data", written(TEXTS["no such data"][0]), {"experiment": refused("nowhere")}),
    Case("no such file", elsewhere, {"experiment": refused("nowhere.yaml")}),
    Case("a folder", a_folder, {"experiment": refused("data")}),
    Case(
        "a byte order mark",
        changed(lambda content: b"\xef\xbb\xbf" + content),
        {"experiment": same},
    ),
    Case(
        "line ends of Windows",
        changed(lambda content: content.replace(b"\n", b"\r\n")),
        {"experiment": same},
    ),
    Case("a link to the file", linked, {"experiment": same}),
    Case(
        "a data folder given as a link",
        lambda place: (
            place.data.rename(place.root / "elsewhere"),
            Path(place.data).symlink_to("elsewhere"),
        ),
        {"experiment": same},
    ),
]
