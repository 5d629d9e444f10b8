"""Machines gone wrong: places that cannot be written, files that cannot be opened, odd homes."""

from __future__ import annotations

import os
from pathlib import Path

from cases import READERS, Case, Make, Place, every, refused, same

WRITERS = "explore split baseline federate inspect evaluate add report"
LONG = "o" * 300


def out(name: str) -> Make:
    def make(place: Place) -> None:
        place.out = name

    return make


def below_a_file(place: Place) -> None:
    place.out = "plan.yaml"


def to_nowhere(place: Place) -> None:
    """Of a disk that is not mounted: the folder that the link leads to cannot be made."""
    (place.root / "share").symlink_to("/proc/nowhere")
    place.out = "share"


def in_a_circle(place: Place) -> None:
    (place.root / "circle").symlink_to("circle")
    place.out = "circle"


def given_as_file(place: Place) -> None:
    """Each command's own folder is a file."""
    (place.root / "out").mkdir()
    for command in WRITERS.split():
        (place.root / "out" / command).write_text("mine")


def circular_data(place: Place) -> None:
    place.data = place.root / "circle"
    place.data.symlink_to("circle")


def long_path(place: Place) -> None:
    place.data = place.root / LONG


def cache_in(name: str) -> Make:
    """The cache cannot be written; results do not depend on it."""

    def make(place: Place) -> None:
        place.environment["FEDPATCHCORE_CACHE"] = str(place.root / name)

    return make


def spoiled_cache(place: Place) -> None:
    """What lies in the cache is no cache."""
    cache = place.root / "cache"
    cache.mkdir()
    for name in ("features", "models", "notes"):
        (cache / name).write_text("not a folder")
    place.environment["FEDPATCHCORE_CACHE"] = str(cache)


def homeless(place: Place) -> None:
    place.environment.update(HOME="/proc/nowhere", XDG_CACHE_HOME=None, FEDPATCHCORE_CACHE=None)


def narrow(place: Place) -> None:
    place.environment.update(COLUMNS="20", TERM="dumb", NO_COLOR="1")


def stations_at(file: str) -> Make:
    return lambda place: place.options.setdefault("check", []).extend(("--station", file))


def again(place: Place) -> None:
    """Folders of the commands' names are there already, with something of the user's in them."""
    for command in ("baseline", "inspect"):
        folder = place.root / "out" / command
        folder.mkdir(parents=True)
        (folder / "thesis.txt").write_text("years of work")


def no_such_user(place: Place) -> None:
    place.out = "~nobody-of-this-name/out"


def unknown_device(place: Place) -> None:
    for command in ("baseline", "federate", "inspect", "evaluate", "add"):
        place.set(command, "device=cudda")


def many_workers(place: Place) -> None:
    place.set("baseline", "num-workers=3")
    place.set("inspect", "num-workers=3", "batch-size=1")


def read_through_proc(place: Place) -> None:
    """A folder by another of its names."""
    place.data = Path(f"/proc/{os.getpid()}/cwd/data")


CASES = [
    Case("--out on a system's own disk", out("/proc/nowhere"), every(WRITERS, refused("/proc"))),
    Case("--out where nothing can be made", out("/sys/out"), every(WRITERS, refused("/sys"))),
    Case("--out below a file", below_a_file, every(WRITERS, refused("plan.yaml"))),
    Case("--out to a disk that is gone", to_nowhere, every(WRITERS, refused("share"))),
    Case("--out in a circle of links", in_a_circle, every(WRITERS, refused("circle"))),
    Case("--out of 300 bytes", out(LONG), every(WRITERS, refused("ooo"))),
    Case("--out is a file", given_as_file, every(WRITERS, refused("out/"))),
    Case(
        "--out of a user who is not there",
        no_such_user,
        every("baseline inspect explore", refused("~nobody-of-this-name")),
    ),
    Case("data in a circle of links", circular_data, every(READERS, refused("circle"))),
    Case("data of 300 bytes", long_path, every(READERS, refused("ooo"))),
    Case("data by another name", read_through_proc, every("check baseline federate", same)),
    Case("the cache is a file", cache_in("plan.yaml"), {"inspect": same}),
    Case("the cache is below a file", cache_in("plan.yaml/x"), {"inspect": same}),
    Case("the cache holds something else", spoiled_cache, every("baseline inspect", same)),
    Case("no home and no cache", homeless, every("inspect check", same)),
    Case("a narrow terminal", narrow, every("check baseline show", same)),
    Case("an unknown device", unknown_device, every("baseline inspect add", refused("cudda"))),
    Case("more workers than images", many_workers, every("baseline inspect", same)),
    Case("results beside somebody's work", again, {"inspect": same}),
]
