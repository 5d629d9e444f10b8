"""The models that a journal names, found again by their sha256."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.errors import FedPatchCoreError, InputError
from common.line.models.version import model_sha256
from common.patchcore.model_folder import find_model

_MOST_FOLDERS: Final = 10_000


def models_in(place: Path) -> dict[str, Path]:
    """Models of a folder by sha256.

    Parameters
    ----------
    place : Path
        A model or run folder, then with its later versions beside it (`MODEL.<n>`); or a folder of
        such, as a station's `models-dir`.

    Raises
    ------
    InputError
        If there is no model at all.
    """
    if not place.is_dir():
        raise InputError(f"{place}: no such folder; expected a model, or a folder of models")
    found: dict[str, Path] = {}
    for folder in _candidates(place):
        try:
            model = find_model(folder)
            if model is not None:
                found.setdefault(model_sha256(model), model)
        except (FedPatchCoreError, OSError):
            continue  # a damaged one is none of those that were named
    if not found:
        raise InputError(f"{place}: no model here; expected a model, or a folder of models")
    return found


def _candidates(place: Path) -> Iterator[Path]:
    yield place
    beside = find_model(place) is not None
    for number, folder in enumerate(sorted((place.parent if beside else place).iterdir())):
        if number == _MOST_FOLDERS:
            return
        if folder.is_dir() and (not beside or folder.name.startswith(f"{place.name}.")):
            yield folder
