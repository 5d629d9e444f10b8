"""The app that this installation would submit: the same from a checkout and from a wheel."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from common.errors import InputError
from common.hooks import table
from common.hooks.lookup import require
from common.paths import path_text
from common.plant.app.archive import read_archive
from common.plant.app.content import PROJECT, App
from common.runs.flower_run import app_folder


def installed_app(folder: Path | None = None) -> App:
    """Read the app that `plant run` of this installation would submit, as Flower packs it.

    Parameters
    ----------
    folder : Path, optional
        Of another app.

    Raises
    ------
    InputError
        If Flower would not pack it, or packs it in another way than this program knows.
    RunError
        If the installation has no app.
    OSError
        If a file cannot be read.
    """
    pack = require(table.PACK_APP)
    folder = app_folder() if folder is None else folder
    try:
        archive, _ = pack(_files(folder))
    except (ValueError, KeyError, TypeError) as error:  # also what is no TOML, or another one
        raise InputError(f"{path_text(folder)}: is no app that Flower packs ({error})") from error
    return read_archive(archive)


def _files(folder: Path) -> dict[str, Path]:
    """What Flower chooses from, by path: only where its patterns lead, not a whole checkout."""
    project = tomllib.loads((folder / PROJECT).read_text(encoding="utf-8"))
    patterns = project["tool"]["flwr"]["app"]["fab-include"]
    tops = {PROJECT, ".gitignore", *(pattern.lstrip("/").split("/")[0] for pattern in patterns)}
    found = {}
    for top in sorted(tops):
        if (folder / top).is_file():
            found[top] = folder / top
        # As Flower walks: no link is followed.
        for place, _, names in os.walk(folder / top, followlinks=False):
            for path in (Path(place, name) for name in names):
                if not path.is_symlink():
                    found[path.relative_to(folder).as_posix()] = path
    return found
