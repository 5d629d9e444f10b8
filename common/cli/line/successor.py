"""A new model made of one that is there: beside it, or as a station's next version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.cli.console import console
from common.cli.model_options import login, station_file
from common.errors import InputError

if TYPE_CHECKING:
    from common.inspection.hand_threshold import HandSet
    from common.line.models import Version
    from common.patchcore.model_store import SavedModel
    from common.plant.station.station_file import StationFile


class Successor:
    """The next version after a station's active one.

    Parameters
    ----------
    station : StationFile
    reason : str
        What it is made for.

    Attributes
    ----------
    parent : Version
        The active one.

    Raises
    ------
    InputError
        If none is active.
    """

    def __init__(self, station: StationFile, reason: str) -> None:
        from common.line.models import ModelVersions

        self.station, self.reason = station, reason
        self.versions = ModelVersions(station.models_dir)
        active = self.versions.active()
        if active is None:
            raise InputError(
                f"{station.path}: {station.station} has no active model in {station.models_dir} "
                "to go on from"
            )
        self.parent = active
        self.version: Version | None = None

    def write(self, model: SavedModel) -> Path:
        """Store the version with its parent named; return its folder."""
        name, run_id = self.versions.next_name(self.parent.run_id), self.parent.run_id
        self.version = self.versions.store(
            name, run_id, model, parent=self.parent.name, reason=self.reason
        )
        return self.version.folder

    def activated(self) -> str:
        """Let it judge, unless the station file says otherwise; say what is active now."""
        assert self.version is not None
        name = self.version.name
        if self.station.activate == "manual":
            return (
                f"Active still: {self.parent.name}; {name} waits for `fedpatchcore models "
                f"{self.station.path} --activate {name}`"
            )
        now = self.versions.activate(name, by=login(), why=self.reason)
        removed = self.versions.keep(self.station.keep_models)
        gone = f"; removed: {', '.join(removed)}" if removed else ""
        return f"Active now: {now.name} (sha256 {now.sha256[:12]}...){gone}"


class ThresholdChange:
    """Which model gets a new threshold, and where the new model goes.

    Parameters
    ----------
    model : Path
        A model or run folder, or a station file.
    station : str or None
        As the user named it; of a station file, by default the station itself.
    reason : str
        Kept with a station's new version.

    Attributes
    ----------
    place : Path
        Folder of the model that is there.
    station : str or None
    """

    def __init__(self, model: Path, station: str | None, reason: str) -> None:
        from common.patchcore.model_folder import recover_model

        described = station_file(model)
        self.successor: Successor | None = None
        if described is None:
            self.place, self.station = recover_model(model), station
        else:
            self.successor = Successor(described, reason)
            self.place = self.successor.parent.folder
            self.station = station or described.station

    def write(self, made: HandSet, category: str) -> None:
        """Write the new model, and say what it is."""
        from common.inspection.successor import parent_of, save_beside

        origin = {**made.model.provenance, **parent_of(self.place)}
        model = replace(made.model, provenance=origin)
        folder = (
            save_beside(model, self.place)
            if self.successor is None
            else self.successor.write(model)
        )
        before = "none" if made.previous is None else f"{made.previous:.4g}"
        console.print(
            f"threshold {category} {made.value:.4g} (was {before}). {made.sentence}",
            soft_wrap=True,
        )
        console.print(f"Written: {folder}", soft_wrap=True)
        if self.successor is not None:
            console.print(self.successor.activated(), soft_wrap=True)
