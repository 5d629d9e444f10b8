"""A model on disk: `bank.safetensors` with the rows, `model.json` with what they mean."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from common.errors import InputError
from common.patchcore.distances import Distances
from common.patchcore.model_facts import (
    read_radii,
    read_scores,
    read_selection,
    read_shares,
    read_space,
    read_thresholds,
)
from common.patchcore.model_files import (
    FORMAT,
    facts_digest,
    read_facts,
    read_rows,
    require_of_run,
    require_whole,
    unreadable,
)
from common.patchcore.model_folder import (
    FACTS,
    ROWS,
    find_model,
    remove_model,
    replace_model,
    sync_file,
    sync_folder,
)
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.shares import Share
from common.paths import beside, json_text
from common.system.files import write_whole

SHARED: Final = "shared"
"""Name of the only bank in scope `shared`; in scope `category` banks are named by category."""


def bank_of(category: str) -> str:
    """Name of a category's own bank: its own, but for a category that is called `shared`.

    That one's bank is `shared/`, which no folder can be called.
    """
    return f"{category}/" if category == SHARED else category


def category_of(bank: str) -> str | None:
    """The category whose own bank this is; None for the bank that all share."""
    return None if bank == SHARED else bank.removesuffix("/")


@dataclass(frozen=True)
class StationCalibration:
    """What the held-out images of one station say by themselves.

    Attributes
    ----------
    thresholds : dict of category to facts
        As in `SavedModel.thresholds`.
    calibration : dict of category to list of float
        As in `SavedModel.calibration`.
    """

    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedModel:
    """Everything that a model folder holds.

    Attributes
    ----------
    banks : dict of str to array (m, d), float16 or float32
        By category, or one named `shared`.
    space : FeatureSpace
    image_score : str
        `max` or a percentile.
    augment : str
        Copies of the training images that joined them in the banks; "none" in a model that was
        saved before there were any.
    categories : tuple of str
        Parts that the banks were built from.
    thresholds : dict of category to facts
        As `threshold_facts` gives them; categories without held-out images are absent.
    calibration : dict of category to list of float
        Image scores of the held-out good images, ascending: what the thresholds rest on, and what
        later good parts are compared with.
    stations : dict of station to StationCalibration
        The same for every station alone. Empty for a model that was fitted in one place, and for
        one saved before stations were kept.
    selection : Distances or None
        How the coreset was selected: a fit that goes on, goes on in the very same projected space.
        None for a model that was saved before this was kept.
    radii : dict of bank to float
        Distance of the training patch that lies farthest from each bank; absent where not known.
        Of a shared bank with shares: from the rows of its own category.
    shares : dict of category to Share
        What each category has of a shared bank; empty where each has its own, where nobody said
        what the images show, and in a model that was saved before shares were kept. Rows that were
        added later without naming a category are in no share.
    stale : tuple of str
        Categories whose bank has grown since they were calibrated: their thresholds still promise
        at least what they did, their calibration scores are no longer those of this bank.
    weights_source : str
        Where the backbone's weights came from in the run: auto, imagenet, random or a path; "" if
        that is the stations' own affair.
    provenance : dict
        Run, stations, time: for people.
    """

    banks: dict[str, NDArray[np.floating]]
    space: FeatureSpace
    image_score: str = "max"
    augment: str = "none"
    categories: tuple[str, ...] = ()
    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: dict[str, list[float]] = field(default_factory=dict)
    stations: dict[str, StationCalibration] = field(default_factory=dict)
    selection: Distances | None = None
    radii: dict[str, float] = field(default_factory=dict)
    shares: dict[str, Share] = field(default_factory=dict)
    stale: tuple[str, ...] = ()
    weights_source: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """`shared` or `category`."""
        return "shared" if list(self.banks) == [SHARED] else "category"

    @property
    def radius(self) -> float | None:
        """The largest radius of all banks."""
        return max(self.radii.values(), default=None)

    def limit(self, bank: str, category: str | None) -> float | None:
        """How far a patch may lie from a bank and be nothing new to it; None if not known.

        In a shared bank a category has a radius of its own: what a coarse one takes for nothing
        new may be all that a fine one shows.
        """
        own = self.shares.get(category or "")
        if bank == SHARED and own is not None and own.radius is not None:
            return own.radius
        return self.radii.get(bank)

    def calibrated(self, bank: str) -> set[str]:
        """Categories that a bank judges and that were calibrated."""
        known = {*self.thresholds, *self.calibration}
        return known if bank == SHARED else {name for name in known if bank_of(name) == bank}

    def facts(self) -> dict[str, Any]:
        """What `model.json` says, but for the digests of the two files."""
        return {
            "format": FORMAT,
            "scope": self.scope,
            "rows": {name: len(rows) for name, rows in self.banks.items()},
            "feature_dim": next(iter(self.banks.values())).shape[1],
            "fingerprint": self.space.fingerprint,
            "feature_space": self.space.to_json(),
            "image_score": self.image_score,
            "augment": self.augment,
            "categories": list(self.categories),
            "thresholds": self.thresholds,
            "calibration": self.calibration,
            "stations": {name: asdict(own) for name, own in sorted(self.stations.items())},
            "coreset_projection": None if self.selection is None else asdict(self.selection),
            "radius": self.radius,
            "radii": self.radii,
            "shares": {name: asdict(own) for name, own in sorted(self.shares.items())},
            "stale": list(self.stale),
            "weights_source": self.weights_source,
            "provenance": self.provenance,
        }

    def save(self, folder: Path) -> None:
        """Write the model folder, whole or not at all; an existing one is replaced.

        A crash at any moment leaves the old model or the new one to be loaded.

        Raises
        ------
        InputError
            If `folder` exists and is not a model folder.
        OSError
            If the system refuses; the old model is where it was.
        """
        folder = folder.expanduser().resolve()
        if folder.is_file():
            raise InputError(f"{folder}: a file; give a folder for the model")
        if folder.exists() and any(folder.iterdir()) and not (folder / FACTS).is_file():
            raise InputError(f"{folder}: holds other files than a model; give another folder")
        above = next(place for place in folder.parents if place.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = beside(folder, ".partial")
        remove_model(building)
        building.mkdir()
        # Not `save_file`: its file is nobody else's to read, whatever the umask says.
        rows = save({name: np.ascontiguousarray(rows) for name, rows in self.banks.items()})
        write_whole(building / ROWS, rows)
        facts = self.facts()
        facts["sha256"] = {ROWS: hashlib.sha256(rows).hexdigest(), FACTS: facts_digest(facts)}
        write_whole(building / FACTS, json_text(facts) + "\n")
        for name in (ROWS, FACTS):
            sync_file(building / name)
        sync_folder(building)
        replace_model(building, folder)

    @classmethod
    def load(cls, folder: Path) -> SavedModel:
        """Read a model folder, or the run folder that holds one in `model/`.

        Raises
        ------
        InputError
            If a file is missing, damaged or changed, or the two do not belong together.
        OSError
            If the system refuses to show it, as it does with another user's.
        """
        try:
            found = find_model(folder)
        except OSError as error:
            raise unreadable(folder, error) from error
        if found is None:
            raise InputError(f"{folder}: no model here; expected {FACTS} and {ROWS}")
        folder, path = found, found / FACTS
        facts, banks = read_facts(path), read_rows(folder / ROWS)
        try:
            shapes = {n: (int(r), int(facts["feature_dim"])) for n, r in facts["rows"].items()}
            if not shapes or set(shapes) != set(banks):
                raise InputError(
                    f"{folder}: bank.safetensors holds the banks {sorted(banks)}, model.json "
                    f"names {sorted(shapes)}; the two files do not belong together"
                )
            model = cls.from_facts(facts, banks, path)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: not the facts of a model ({type(error).__name__}: {error}); copy the "
                "model folder again from where it was made, or train anew"
            ) from error
        for name, rows in model.banks.items():
            if rows.shape != shapes[name] or rows.dtype not in (np.float16, np.float32):
                raise InputError(
                    f"{folder}/bank.safetensors: bank {name!r} is {rows.dtype} {rows.shape}; "
                    f"model.json says {shapes[name]}, float16 or float32"
                )
            if len(rows) == 0 or not np.isfinite(rows).all():
                raise InputError(f"{folder}/bank.safetensors: bank {name!r} is empty or not finite")
        require_whole(folder, facts)
        require_of_run(folder, facts)
        return model

    @classmethod
    def from_facts(
        cls, facts: dict[str, Any], banks: dict[str, NDArray[Any]], path: Path = Path(FACTS)
    ) -> SavedModel:
        """Make a model of what `facts` says of it; `path` is named where it cannot be.

        Raises
        ------
        ValueError, LookupError, TypeError, AttributeError
            If these are not the facts of a model.
        InputError
            If nobody knows its feature space.
        """
        calibration = read_scores(facts.get("calibration", {}))
        model = cls(
            banks=banks,
            space=read_space(path, facts["feature_space"]),
            image_score=str(facts["image_score"]),
            augment=str(facts.get("augment", "none")),
            categories=tuple(facts["categories"]),
            thresholds=read_thresholds(facts["thresholds"], calibration),
            calibration=calibration,
            stations=_read_stations(facts.get("stations", {})),
            selection=read_selection(facts.get("coreset_projection")),
            radii=read_radii(facts, banks),
            shares=read_shares(facts.get("shares", {}), len(banks.get(SHARED, ()))),
            stale=tuple(map(str, facts.get("stale", ()))),
            weights_source=str(facts["weights_source"]),
            provenance=dict(facts["provenance"]),
        )
        return model if "stale" in facts else replace(model, stale=_grown_before(model))


def _grown_before(model: SavedModel) -> tuple[str, ...]:
    """What is stale in a model of a version that did not tell, but kept what had been added."""
    grown = {str(added["bank"]) for added in model.provenance.get("added", [])}
    return tuple(sorted({name for bank in grown for name in model.calibrated(bank)}))


def _read_stations(facts: dict[str, dict[str, Any]]) -> dict[str, StationCalibration]:
    found = {}
    for name, own in facts.items():
        scores = read_scores(own["calibration"])
        found[str(name)] = StationCalibration(read_thresholds(own["thresholds"], scores), scores)
    return found
