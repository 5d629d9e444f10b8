"""The images by which a station judges a new model, as its `station.toml` names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.config import Settings
from common.data.holdout import split_holdout
from common.data.layout import index_data
from common.data.samples import Sample
from common.errors import InputError
from common.line.models.admission import OwnImages, StationRules
from common.line.models.known_scores import KnownScores
from common.patchcore.model_files import read_facts
from common.patchcore.model_folder import FACTS
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.inputs import ImageInput
from common.plant.station.station_file import StationFile


def how_to_compute(file: StationFile, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Where this station has its weights, and its device: for `PatchCore.load`.

    Parameters
    ----------
    file : StationFile
    changes : mapping of setting to value, optional
        What a command was told; it goes before the file.
    """
    told = {"weights": file.weights, "device": file.device, "batch_size": file.batch_size}
    return {**{key: value for key, value in told.items() if value}, **(changes or {})}


def station_rules(file: StationFile, changes: Mapping[str, Any] | None = None) -> StationRules:
    """How this station lets a new version judge; opens nothing.

    Parameters
    ----------
    file : StationFile
    changes : mapping of setting to value, optional
        Where and how to compute, as a command was told.
    """
    return StationRules(
        file.station,
        lambda model: own_images(file, model, changes),
        file.activate,
        file.keep_models,
    )


def own_images(
    file: StationFile, model: Path, changes: Mapping[str, Any] | None = None
) -> OwnImages:
    """Find what a station judges a new model by; opens no image but those added to a bank.

    Parameters
    ----------
    file : StationFile
    model : Path
        Folder of the new model: it tells which share of the training images was held out, and
        which images were added since.
    changes : mapping of setting to value, optional

    Returns
    -------
    OwnImages
        Held out are those that no bank has seen; its features and known scores come from the
        station's cache, and go there where this user may write to it.

    Raises
    ------
    InputError
        If there is no data folder, or no image in it.
    """
    index, provenance = index_data(file.data_root), read_facts(model / FACTS).get("provenance", {})
    fraction = provenance.get("calibration_fraction", Settings().calibration_fraction)
    _, held_out = split_holdout(index.select("train"), float(fraction))
    return OwnImages(
        _without(held_out, _added(provenance)),
        index.select("test"),
        file.station,
        _cache(file),
        KnownScores(file.cache_dir),
        how_to_compute(file, changes),
    )


def _added(provenance: Mapping[str, Any]) -> set[str]:
    """Sha256 of the images that `add` put into a bank."""
    return {str(one["sha256"]) for record in provenance.get("added", ()) for one in record["files"]}


def _without(samples: list[Sample], contents: set[str]) -> list[Sample]:
    """Leave out what a bank has seen: its score says nothing."""
    return [s for s in samples if not contents or not _is_one_of(s.path, contents)]


def _is_one_of(path: Path, contents: set[str]) -> bool:
    try:
        return ImageInput(path).content_key() in contents
    except InputError:
        return False  # the test itself says that it cannot be read


def _cache(file: StationFile) -> FeatureCache | None:
    try:
        return FeatureCache(file.cache_dir / "features", int(file.cache_limit_gb * 2**30))
    except OSError:  # another user's: then the features are computed here
        return None
