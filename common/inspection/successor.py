"""A new model made of an old one: beside it, and naming it. Nothing is overwritten."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.patchcore.model_files import file_digest
from common.patchcore.model_folder import FACTS, find_model, remove_model
from common.paths import beside

if TYPE_CHECKING:
    from common.patchcore.model_store import SavedModel


def parent_of(folder: Path) -> dict[str, Any]:
    """What the provenance of a new model says of the one it was made of.

    Parameters
    ----------
    folder : Path
        Of the old model.

    Returns
    -------
    dict
        `parent`: its folder's name, and the sha256 of its `model.json`.
    """
    found = find_model(folder) or folder
    return {"parent": {"name": found.name, "sha256": file_digest(found / FACTS)}}


def require_free(out: Path) -> None:
    """Refuse a place where something is already.

    Raises
    ------
    InputError
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "a model is there already" if find_model(out) else "something is there already"
        raise InputError(f"--out {out}: {what}; nothing is overwritten, give a new folder")


def save_beside(model: SavedModel, place: Path, out: Path | None = None) -> Path:
    """Write a model into a new folder: `out`, or the first free `MODEL.<n>` beside the old one.

    Parameters
    ----------
    model : SavedModel
    place : Path
        Folder of the model that it was made of. Of `model.2` it is `model.3` that comes next.
    out : Path, optional

    Returns
    -------
    Path
        The folder, whole.

    Raises
    ------
    InputError
        If something is in `out`.
    """
    if out is not None:
        require_free(out)
        model.save(out)
        return out
    place = _first(place.expanduser().resolve())
    number = 1
    while True:
        target = beside(place, f".{number}")
        try:
            target.mkdir()  # nobody else takes the name from now on
        except FileExistsError:
            number += 1
            continue
        try:
            model.save(target)
        except BaseException:
            remove_model(beside(target, ".partial"))  # as a full disk leaves it
            with contextlib.suppress(OSError):
                target.rmdir()  # a model appears whole or not at all
            raise
        return target


def _first(place: Path) -> Path:
    """`model`, of `model.2`."""
    found = re.fullmatch(r"(.+)\.[1-9][0-9]*", place.name)
    if found and find_model(place.with_name(found[1])) is not None:
        return place.with_name(found[1])
    return place
