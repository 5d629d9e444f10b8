"""Replacing a model folder so that a crash at any moment leaves one whole model to be found.

No call of an ordinary file system swaps two folders. So the old one is set aside, the new one
takes its place, and the old one is removed. Whoever looks for the model between the first two steps
finds the one that was set aside.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from common.paths import beside

FACTS: Final = "model.json"
ROWS: Final = "bank.safetensors"
MODEL: Final = "model"
RUN: Final = "run.json"


def find_model(folder: Path) -> Path | None:
    """Find the model in a folder.

    Parameters
    ----------
    folder : Path
        A model folder, or a run folder with the model in `model/`.

    Returns
    -------
    Path or None
        The folder with `model.json`. That is `<name>.previous` if a crash left the model there,
        and None if there is no model.
    """
    for place in (folder, folder / MODEL):
        for candidate in (place, _aside(place)):
            if (candidate / FACTS).is_file():
                return candidate
    return None


def recover_model(folder: Path) -> Path:
    """Find the model that is to be changed, and bring it back to its place after a crash.

    Parameters
    ----------
    folder : Path
        As in `find_model`.

    Returns
    -------
    Path
        The model folder; `folder` itself if there is no model.

    Raises
    ------
    OSError
        If the file system refuses.
    """
    found = find_model(folder)
    for place in (folder, folder / MODEL):
        if found == _aside(place):
            found.rename(place)
            return place
    return found or folder


def replace_model(new: Path, folder: Path) -> None:
    """Put a finished model folder in the place of another, or of none.

    Parameters
    ----------
    new : Path
        On the same file system, whole, with its files on disk. It is gone afterwards.
    folder : Path
        Absolute.

    Raises
    ------
    OSError
        If the file system refuses; the old model is where it was.
    """
    aside = _aside(folder)
    if folder.exists():
        remove_model(aside)  # left by a crash after its successor was in place
        folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise
    sync_folder(folder.parent)
    remove_model(aside)


def remove_model(folder: Path) -> None:
    """Remove a model folder if it is there; half removed it does not pass for a model."""
    (folder / FACTS).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Return when a file's content would survive a power failure."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder would survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _aside(folder: Path) -> Path:
    """Where the old model is while the new one takes its place."""
    return beside(folder, ".previous")
