"""What a plant knows of its stations' image counts beforehand: registered, or from earlier runs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.paths import RUNS_VARIABLE, STATIONS_VARIABLE
from common.plant.keys.registered_images import read_registered_images
from common.runs.unfinished import read_record

IMAGES_FILE: Final = "images.toml"
"""Beside the stations' public keys: one line per station, NAME = number."""
_GROWTH: Final = 2
"""A station may have so many times the images that it had in its largest earlier run."""


@dataclass(frozen=True)
class Allowance:
    """How many training images a station may count for.

    Attributes
    ----------
    images : int
    why : str
        Where that comes from, in words.
    """

    images: int
    why: str


def read_allowances(members: Path | None = None, runs: Path | None = None) -> dict[str, Allowance]:
    """Read how many training images each station may count for.

    Parameters
    ----------
    members : Path, optional
        Folder of the stations' public keys; `images.toml` in it may be missing. Default
        `$FEDPATCHCORE_STATIONS`.
    runs : Path, optional
        Folder of the plant's runs, `<run-id>/contributions.json`. Default `$FEDPATCHCORE_RUNS`.

    Returns
    -------
    dict of station to Allowance
        The registered number, or else that of earlier runs; without either it is missing.

    Raises
    ------
    InputError
        If `images.toml` is not what `fedpatchcore keys --images` writes.
    """
    members = members or _named(STATIONS_VARIABLE)
    runs = runs or _named(RUNS_VARIABLE)
    found = {
        name: Allowance(
            _GROWTH * images,
            f"{_GROWTH} x {images} of its largest earlier run; `fedpatchcore "
            f"keys DIR --station {name} --images N` registers more",
        )
        for name, images in (_earlier(runs) if runs else {}).items()
    }
    registered = read_registered_images(members / IMAGES_FILE) if members else {}
    for name, images in registered.items():
        found[name] = Allowance(images, f"{images} are registered (`fedpatchcore keys --images`)")
    return found


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def _earlier(runs: Path) -> dict[str, int]:
    """The largest number that a station had in a run that was completed with it."""
    largest: dict[str, int] = {}
    for path in sorted(runs.glob("*/contributions.json")):
        if (read_record(path.parent) or {}).get("status") != "completed":
            continue  # whoever lets runs fail must not grow by it
        for name, own in _contributions(path).items():
            # What counted, not what it claimed; older runs counted what was claimed.
            images = int(own.get("images_counted", own.get("images", 0)))
            if own.get("rows_chosen"):
                largest[name] = max(largest.get(name, 0), images)
    return {name: images for name, images in largest.items() if images}


def _contributions(path: Path) -> dict[str, Any]:
    """Stations of one run; a file that is no such is a run that says nothing."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {str(one["name"]): dict(one) for one in told["stations"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
