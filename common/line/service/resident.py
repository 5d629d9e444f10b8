"""The model that judges, and where it comes from: a folder, or a station's active version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.errors import InputError
from common.inspection.verdict import Rule, choose_rule
from common.line.models.version import model_sha256
from common.line.models.versions import ModelVersions
from common.line.service.bounds import RETRY, NotNow
from common.patchcore import PatchCore
from common.patchcore.model_folder import find_model


@dataclass(frozen=True)
class Found:
    """A model on the disk that is to judge.

    Attributes
    ----------
    name : str
        For people: the version's name, or the folder's.
    folder : Path
    run_id, sha256 : str
    """

    name: str
    folder: Path
    run_id: str
    sha256: str


class ModelSource(Protocol):
    """Where the service's model comes from."""

    def generation(self) -> object:
        """Something that changes when another model is to judge; cheap."""

    def newest(self) -> Found:
        """The model that is to judge now; `InputError` if there is none."""


class PlainFolder:
    """One model folder, or run folder: the same model for as long as the service runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def generation(self) -> object:
        """Never changes."""
        return None

    def newest(self) -> Found:
        """The model in the folder."""
        folder = find_model(self.folder)
        if folder is None:
            raise InputError(f"{self.folder}: no model here; expected model.json and its rows")
        return Found(self.folder.name, folder, "", model_sha256(folder))


class ActiveVersion:
    """The active version of a station."""

    def __init__(self, versions: ModelVersions) -> None:
        self.versions = versions

    def generation(self) -> object:
        """Changes with every switch."""
        return self.versions.generation()

    def newest(self) -> Found:
        """The version that is active now."""
        active = self.versions.active()
        if active is None:
            raise InputError(
                f"{self.versions.folder}: no model is active; after a run the server delivers "
                "one, `fedpatchcore models STATION.toml --activate RUN_ID` names one"
            )
        return Found(active.name, active.folder, active.run_id, active.sha256)


@dataclass
class Resident:
    """A model in memory, and the rules by which it judges.

    Attributes
    ----------
    found : Found
    loaded : PatchCore or None
        None once it was dropped. Not safe to be used by two threads: the judge alone does.
    station : str or None
        Whose own thresholds judge, where they are good enough.
    rules : dict of category to Rule
        Made as they are asked for.
    """

    found: Found
    loaded: PatchCore | None
    station: str | None = None
    rules: dict[str | None, Rule] = field(default_factory=dict)

    @property
    def model(self) -> PatchCore:
        """The model; `NotNow` if it was dropped because another one is loaded in its place."""
        if self.loaded is None:
            raise NotNow("another model is being loaded; send the part again later", RETRY)
        return self.loaded

    @property
    def is_loaded(self) -> bool:
        """Whether it can judge."""
        return self.loaded is not None

    def drop(self) -> None:
        """Let go of the model; what is known of it, and its rules, stay."""
        _ = self.run_id, self.categories, self.network_bytes
        self.loaded = None

    @cached_property
    def network_bytes(self) -> int:
        """What the network's numbers take."""
        return self.model.extractor.weight_bytes

    @cached_property
    def run_id(self) -> str:
        """Of the run that made the model; "" where nobody knows."""
        return self.found.run_id or str(self.model.provenance.get("run_id", ""))

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """What it knows; empty for a model that keeps no names."""
        return self.model.categories or tuple(self.model.thresholds)

    def rule(self, category: str | None) -> Rule:
        """The rule for a category, which may be left out where the model has one alone.

        Raises
        ------
        InputError
            If the model does not know it, or must be told.
        """
        if category not in self.rules:
            known = self.categories
            if category is None and len(known) != 1:
                raise InputError(
                    f"category: is missing; the model knows: {', '.join(known) or 'no names'}"
                )
            station = self.station if self.station in self.model.stations else None
            self.rules[category] = choose_rule(self.model, category, station=station)
        return self.rules[category]


def load_resident(
    found: Found, station: str | None = None, changes: Mapping[str, Any] | None = None
) -> Resident:
    """Load a model, and let it judge a blank picture: the first one takes a second longer.

    Raises
    ------
    InputError
        If it is damaged, or its weights are not here.
    """
    model = PatchCore.load(found.folder, **(changes or {}))
    blank = np.zeros((64, 64, 3), dtype=np.uint8)
    for bank in sorted(model.banks):
        category = next((one for one in model.categories if model.bank_name(one) == bank), None)
        model.predict_single(blank, category)
    resident = Resident(found, model, station)
    for category in (
        resident.categories
        if len(resident.categories) != 1
        else (
            None,
            *resident.categories,
        )
    ):
        resident.rule(category)
    return resident
