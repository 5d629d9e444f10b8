"""A new model made of one that is there: beside it, or as a station's next version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from common.cli.console import console, note
from common.cli.model_options import login, station_file
from common.cli.shared import progress_bar

if TYPE_CHECKING:
    from common.inspection.hand_threshold import HandSet
    from common.line.models.admission import Admission
    from common.line.models.successor import Successor
    from common.plant.station.station_file import StationFile


def next_version(station: StationFile, reason: str, changes: dict[str, Any]) -> Successor:
    """Begin the next version after a station's active one.

    Parameters
    ----------
    station : StationFile
    reason : str
        What it is made for.
    changes : dict of setting to value
        Where and how to compute, as the command was told.

    Raises
    ------
    InputError
        If none is active.
    """
    from common.line.models import ModelVersions
    from common.line.models.successor import Successor
    from common.plant.station.own_images import station_rules

    versions, rules = ModelVersions(station.models_dir), station_rules(station, changes)
    return Successor(versions, rules, by=login(), reason=reason)


def admitted(successor: Successor, station: StationFile) -> None:
    """Test the written version on the station's own images, let it judge if it may, and say so.

    Raises
    ------
    typer.Exit
        With 1 where it is refused, or could not be tested: what was active still is.
    """
    with progress_bar("testing") as bar:
        found = successor.admitted(lambda done, total: bar("testing", done, total))
    for words in _told(found, successor.parent.name, station.path):
        console.print(words, highlight=False, soft_wrap=True)
    if found.trouble is not None:
        note(f"old model versions stay: {found.trouble}")
    if found.untested is not None or found.version.state == "refused":
        raise typer.Exit(1)


def _told(found: Admission, parent: str, file: Path) -> tuple[str, str]:
    """What the test found, and what is active now."""
    version = found.version
    sentence = str((version.acceptance or {}).get("sentence", ""))
    switch = f"`fedpatchcore models {file} --activate {version.name}"
    if version.state == "active":
        gone = f"; removed: {', '.join(found.removed)}" if found.removed else ""
        return sentence, f"Active now: {version.name} (sha256 {version.sha256[:12]}...){gone}"
    if version.state == "refused":
        return f"{version.name}: {sentence}", (
            f"Active still: {parent}; to let {version.name} judge all the same: {switch} "
            "--even-refused`"
        )
    if found.untested is not None:
        sentence = f"Not tested: {found.untested}"
    return sentence, f"Active still: {parent}; {version.name} waits for {switch}`"


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
    changes : dict of setting to value, optional
        Where and how to compute, as the command was told.

    Attributes
    ----------
    place : Path
        Folder of the model that is there.
    station : str or None
    changes : dict of setting to value
        With what a station file says of weights and device.
    """

    def __init__(
        self,
        model: Path,
        station: str | None,
        reason: str,
        changes: dict[str, Any] | None = None,
    ) -> None:
        from common.patchcore.model_folder import recover_model

        self.described = station_file(model)
        self.changes = changes or {}
        self.successor: Successor | None = None
        if self.described is None:
            self.place, self.station = recover_model(model), station
        else:
            from common.plant.station.own_images import how_to_compute

            self.successor = next_version(self.described, reason, self.changes)
            self.changes = how_to_compute(self.described, changes)
            self.place = self.successor.parent.folder
            self.station = station or self.described.station

    def write(self, made: HandSet, category: str) -> None:
        """Write the new model, and say what it is; a station's is tested, too.

        Raises
        ------
        typer.Exit
            See `admitted`.
        """
        if self.successor is None:
            from common.inspection.successor import parent_of, save_beside

            origin = {**made.model.provenance, **parent_of(self.place)}
            folder = save_beside(replace(made.model, provenance=origin), self.place)
        else:
            folder = self.successor.write(made.model)
        before = "none" if made.previous is None else f"{made.previous:.4g}"
        console.print(
            f"threshold {category} {made.value:.4g} (was {before}). {made.sentence}",
            soft_wrap=True,
        )
        console.print(f"Written: {folder}", soft_wrap=True)
        if self.successor is not None and self.described is not None:
            admitted(self.successor, self.described)
