"""The next version after a station's active one, made at the station: stored, tested, admitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from common.inspection.successor import parent_of
from common.line.models.admission import Admission, StationRules, admit
from common.line.models.judging import Progress
from common.line.models.versions import ModelVersions, Version

if TYPE_CHECKING:
    from common.inspection.hand_threshold import HandSet
    from common.patchcore.model_store import SavedModel


class Successor:
    """What commands and the service share when they make a new model of the active one.

    Parameters
    ----------
    versions : ModelVersions
    rules : StationRules
    by, reason : str
        Who makes it and what for: kept with the version and with the switch.

    Attributes
    ----------
    parent : Version
        The active one.
    version : Version or None
        The new one, once it is written.

    Raises
    ------
    InputError
        If none is active.
    """

    def __init__(
        self, versions: ModelVersions, rules: StationRules, *, by: str, reason: str
    ) -> None:
        self.versions, self.rules, self.by, self.reason = versions, rules, by, reason
        active = versions.active()
        if active is None:
            raise InputError(
                f"{versions.folder}: {rules.station} has no active model to go on from"
            )
        self.parent = active
        self.version: Version | None = None

    def write(self, model: SavedModel) -> Path:
        """Store the version with its parent named; return its folder."""
        origin = {**model.provenance, **parent_of(self.parent.folder)}
        name, run_id = self.versions.next_name(self.parent.run_id), self.parent.run_id
        self.version = self.versions.store(
            name,
            run_id,
            replace(model, provenance=origin),
            parent=self.parent.name,
            reason=self.reason,
        )
        return self.version.folder

    def admitted(self, progress: Progress | None = None) -> Admission:
        """Test it, and let it judge if it may and its parent is still the active one; `admit`."""
        assert self.version is not None, "not written yet"
        return admit(
            self.versions,
            self.version,
            self.rules,
            by=self.by,
            why=self.reason,
            instead_of=self.parent.name,
            progress=progress,
        )


def by_hand(category: str, reason: str) -> str:
    """What a version is made for whose threshold somebody has set."""
    return f"threshold of {category} set by hand: {reason.strip()}"


def set_by_hand(
    versions: ModelVersions,
    rules: StationRules,
    category: str,
    value: float,
    *,
    by: str,
    reason: str,
    progress: Progress | None = None,
) -> tuple[HandSet, Admission]:
    """Set a threshold of a station's model: for all stations', and for its own.

    Parameters
    ----------
    versions : ModelVersions
    rules : StationRules
    category : str
    value : float
    by, reason : str
    progress : callable (images done, images in all), optional

    Returns
    -------
    (HandSet, Admission)
        What the new threshold means, and what became of the new version.

    Raises
    ------
    InputError
        See `set_threshold` and `Successor`; nothing is stored then.
    """
    from common.inspection.hand_threshold import set_threshold
    from common.patchcore.model_store import SavedModel

    successor = Successor(versions, rules, by=by, reason=by_hand(category, reason))
    made = set_threshold(
        SavedModel.load(successor.parent.folder),
        category,
        value,
        reason=reason,
        by=by,
        station=rules.station,
    )
    successor.write(made.model)
    return made, successor.admitted(progress)
