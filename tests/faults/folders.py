"""Folders gone wrong: what lies where, what is missing, what others left behind."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from cases import READERS, RUNS, Case, Expected, Make, Place, every, failed, refused, same, told
from inspection_cases import draw_part
from pictures import draw_mask

CONFIG = {
    "defect_name": "cut",
    "pixel_value": 255,
    "saturation_threshold": 1.0,
    "relative_saturation": True,
}


def autovi(place: Place, *, config: object = None) -> None:
    """The same plate in AutoVI's layout: a folder of masks for each image, and their meaning."""
    for file in sorted((place.home / "ground_truth/cut").iterdir()):
        folder = file.with_name(file.stem.removesuffix("_mask"))
        folder.mkdir()
        file.rename(folder / "0000.png")
    text = json.dumps([CONFIG] if config is None else config)
    (place.home / "defects_config.json").write_text(text)


def in_autovi(change: Make) -> Make:
    def make(place: Place) -> None:
        autovi(place)
        change(place)

    return make


def leftovers(place: Place) -> None:
    """What file servers, systems and offices leave behind, in every folder."""
    folders = [place.data, place.photos, place.parts]
    folders += [path for path in place.data.rglob("*") if path.is_dir()]
    for folder in folders:
        for name in ("@eaDir", "#recycle", ".@__thumb", ".AppleDouble", "__MACOSX", ".Trash-1000"):
            draw_part(folder / name / "000.png", 7, defect=True)
        for name in ("$RECYCLE.BIN", "System Volume Information", "lost+found", "@Recycle"):
            draw_part(folder / name / "good/000.png", 8)
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._000.png", "~$parts.xlsx"):
            (folder / name).write_bytes(b"left")


def linked(place: Place) -> None:
    """The data folder is a link to where the images are."""
    place.data.rename(place.root / "elsewhere")
    place.data.symlink_to("elsewhere")


def nested(place: Place) -> None:
    inner = place.root / "inner"
    place.home.rename(inner)
    place.home.mkdir()
    inner.rename(place.home / "plate")


def nested_twice_over(place: Place) -> None:
    shutil.copytree(place.home, place.root / "inner")
    (place.root / "inner").rename(place.home / "plate")


def second(place: Place) -> Path:
    """Another sound category, without masks."""
    for number in range(6):
        draw_part(place.data / f"washer/train/good/{number:03d}.png", 50 + number)
    return place.data / "washer"


def moved(source: str, target: str) -> Make:
    def make(place: Place) -> None:
        (place.home / target).parent.mkdir(parents=True, exist_ok=True)
        (place.home / source).rename(place.home / target)

    return make


def with_folder(name: str) -> Make:
    return lambda place: (place.data / name).mkdir(parents=True)


def with_picture(name: str) -> Make:
    return lambda place: draw_part(place.data / name, 9)


def emptied(name: str) -> Make:
    def make(place: Place) -> None:
        shutil.rmtree(place.data / name)
        (place.data / name).mkdir()

    return make


def looped(place: Place) -> None:
    (place.photos / "again").symlink_to(place.photos)
    (place.home / "train/again").symlink_to(place.home)


def one_deeper(place: Place) -> None:
    inner = place.root / "inner"
    place.data.rename(inner)
    place.data.mkdir()
    inner.rename(place.data / "images")


def named_badly(place: Place) -> None:
    for name in ("train", "test"):
        (place.home / name).rename(place.home / name.capitalize())


def pointed_at(name: str) -> Make:
    """The data folder given is another one."""

    def make(place: Place) -> None:
        place.data = place.root / name

    return make


def pipe_among_photos(place: Place) -> None:
    """Opening a pipe that nobody writes to would wait for ever."""
    os.mkfifo(place.photos / "3.png")


def stops(*words: str) -> dict[str, Expected]:
    """A fault that every command that reads data folders names."""
    return {"check": told(*words), **every(f"explore evaluate {RUNS}", refused(*words))}


def unseen(*words: str) -> dict[str, Expected]:
    """A fault that changes no result: `check` names it."""
    return {"check": told(*words), **every(f"explore evaluate {RUNS}", same)}


def nothing(*words: str) -> dict[str, Expected]:
    """No data folder at all, also for `check`."""
    return every(READERS, refused(*words))


LEFT = {**every(READERS, same), **every("inspect watch add split", same)}
CASES = [
    Case("what systems leave behind", leftovers, LEFT),
    Case("a link to the data folder", linked, every(READERS, same)),
    Case("a category in a folder of its own name", nested, every(RUNS, same)),
    Case(
        "a link into the folder above it",
        looped,
        {"inspect": same, "check": told("again"), **every(RUNS, refused("train/again"))},
    ),
    Case("categories one folder deeper", one_deeper, nothing("one folder deeper", "images")),
    Case("a category where the data folder belongs", pointed_at("data/plate"), nothing("data")),
    Case("no such data folder", pointed_at("nowhere"), nothing("nowhere")),
    Case("a file where a folder belongs", pointed_at("plan.yaml"), nothing("plan.yaml")),
    Case("an empty data folder", emptied(""), nothing("data")),
    Case("a category twice, one in the other", nested_twice_over, unseen("plate")),
    Case("a folder that is no category", with_folder("notes"), stops("notes")),
    Case("an image between the folders", with_picture("plate/train/7.png"), stops("7.png")),
    Case("an image beside train", with_picture("plate/7.png"), unseen("plate/7.png")),
    Case("capital letters", named_badly, stops("rename")),
    Case("good parts as Good", moved("test/good", "test/Good"), stops("test/Good")),
    Case("train/ok", moved("train/good", "train/ok"), stops("train/ok", "good")),
    Case("defects in train", with_picture("plate/train/cut/0.png"), stops("train/cut")),
    Case("an empty defect type", with_folder("plate/test/scratch"), stops("test/scratch")),
    Case("a folder among images", with_picture("plate/train/good/old/0.png"), stops("good/old")),
    Case("two images of one stem", with_picture("plate/test/cut/000.tif"), stops("000.tif")),
    Case("no mask", lambda place: place.mask.unlink(), stops("test/cut/000.png", "mask")),
    Case("a mask without image", lambda place: place.cut.unlink(), stops("000_mask.png")),
    Case(
        "a mask of another name",
        moved("ground_truth/cut/000_mask.png", "ground_truth/cut/000.png"),
        stops("cut/000"),
    ),
    Case(
        "masks in both layouts",
        in_autovi(lambda place: draw_mask(place.home / "ground_truth/cut/001_mask.png")),
        stops("ground_truth"),
    ),
    Case(
        "no training images",
        lambda place: shutil.rmtree(place.home / "train"),
        {"check": told("plate"), **every(RUNS, refused("training image")), "evaluate": same},
    ),
    Case(
        "an empty train/good",
        emptied("plate/train/good"),
        stops("plate/train/good"),
    ),
    Case(
        "a category without masks beside one with",
        second,
        {"check": told("washer"), "evaluate": same},
    ),
    Case(
        "folders that nothing reads",
        with_picture("plate/validation/good/0.png"),
        unseen("validation"),
    ),
    Case(
        "no defects_config.json",
        in_autovi(lambda place: (place.home / "defects_config.json").unlink()),
        stops("defects_config.json"),
    ),
    Case(
        "an empty defects_config.json",
        in_autovi(lambda place: (place.home / "defects_config.json").write_text("")),
        stops("defects_config.json"),
    ),
    Case(
        "a defects_config.json without saturation",
        lambda place: autovi(place, config=[{"defect_name": "cut", "pixel_value": 255}]),
        stops("defects_config.json", "saturation_threshold"),
    ),
    Case(
        "a saturation area of nothing",
        lambda place: autovi(place, config=[{**CONFIG, "saturation_threshold": 0}]),
        stops("defects_config.json", "saturation_threshold"),
    ),
    Case(
        "AutoVI's layout with a byte order mark",
        in_autovi(
            lambda place: (place.home / "defects_config.json").write_text(
                json.dumps([CONFIG]), encoding="utf-8-sig"
            )
        ),
        every(READERS, same),
        twin=autovi,
    ),
    Case("a pipe among the photos", pipe_among_photos, {"inspect": failed("photos/3.png")}),
    Case(
        "no photos",
        lambda place: [file.unlink() for file in place.photos.iterdir()],
        {"inspect": refused("photos", "image")},
    ),
]
