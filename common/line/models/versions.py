"""The models folder of a station: versions beside each other, one of them active.

::

    models/
        active.json                 which one is active, and the way back
        <run id>/                   model.json  bank.safetensors  version.json
        <run id>.<n>/               a later version, made at the station

A version is built under a name that begins with a dot and renamed when it is whole and on disk; the
active one is named by one small file that is replaced by a rename. So whatever moment a process is
killed at, a whole model is active: the one before or the one after. One process writes at a time;
readers need no lock and may have no right to write.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from common.errors import InputError
from common.line.models.reading import VersionsReader, version_of
from common.line.models.switch import Switch, now, read_switch, write_switch
from common.line.models.version import (
    LABEL,
    Label,
    Version,
    checked_name,
    model_sha256,
    read_label,
    write_label,
)
from common.patchcore.model_folder import sync_folder
from common.paths import derived_name, locked

if TYPE_CHECKING:  # brings torch along, and a list of versions needs none
    from common.patchcore.model_store import SavedModel

__all__ = ["ModelVersions", "Version", "model_sha256"]

_LOCK: Final = ".lock"


class ModelVersions(VersionsReader):
    """A station's model versions, to be read and changed.

    Parameters
    ----------
    models_dir : Path
        Made by the first `store`, for this user alone: bank rows are not anonymous.

    Notes
    -----
    Every method that changes something holds the folder's lock, between processes and threads
    alike, and has synchronised what it did with the disk when it returns.
    """

    def store(
        self,
        name: str,
        run_id: str,
        model: SavedModel,
        *,
        parent: str | None = None,
        reason: str | None = None,
    ) -> Version:
        """Store a version; it waits until it is activated.

        Parameters
        ----------
        name : str
            A run id, or what `next_name` gives.
        run_id : str
        model : SavedModel
        parent : str, optional
            Name of the version that it was made from.
        reason : str, optional
            What it was made for.

        Returns
        -------
        Version
            With `known` where the very same model was there under this name: nothing is changed
            then.

        Raises
        ------
        InputError
            If another model is there under this name: no version is ever overwritten.
        OSError
            If the system refuses; the versions are as they were.
        """
        place = self.folder / checked_name(name)
        with self._writing():
            try:
                building = self.folder / derived_name(name, ".new", ".")
                model.save(building)
                sha256 = model_sha256(building)
                if place.exists():
                    return self._known(name, sha256)
                label = Label(name, run_id, now(), parent, sha256, reason=reason)
                write_label(building, label)
                building.rename(place)
            finally:
                self._clear()
            sync_folder(self.folder)
            return version_of(place, label, self._switch())

    def accept(self, name: str, acceptance: dict[str, Any]) -> Version:
        """Keep what the acceptance test found of a version that passed it."""
        with self._writing():
            before = self.get(name)
            reason = None if before.state == "refused" else before.reason
            return self._relabel(name, refused=False, acceptance=acceptance, reason=reason)

    def refuse(self, name: str, acceptance: dict[str, Any] | None, reason: str) -> Version:
        """Mark a version as refused, and why; it stays, and is not activated by itself.

        Raises
        ------
        InputError
            If it is the active one: go back to another first.
        """
        with self._writing():
            if self._switch().active == name:
                raise InputError(f"model version {name} is active; go back to another first")
            return self._relabel(name, refused=True, acceptance=acceptance, reason=reason)

    def activate(
        self,
        name: str,
        *,
        by: str,
        why: str,
        even_refused: bool = False,
        instead_of: str | None = None,
    ) -> Version:
        """Let a version judge from now on.

        Parameters
        ----------
        name : str
        by, why : str
            Who switches, and what for: kept in `active.json`.
        even_refused : bool
            Take a version, too, that the acceptance test refused: somebody has decided so.
        instead_of : str, optional
            Name of the version that it was made from and compared with: if another is active by
            now, as one that a run delivered meanwhile, that one stays.

        Raises
        ------
        InputError
            If there is no such version, it is damaged, or was refused; what was active still is.
        """
        with self._writing():
            switch = self._switch()
            if instead_of is not None and switch.active not in (instead_of, name):
                raise InputError(
                    f"model version {switch.active} became active while {name} was made of "
                    f"{instead_of}; {name} waits, `--activate {name}` lets it judge all the same"
                )
            version = self.get(name) if _readable(self.folder) else self._without_switch(name)
            if version.state == "refused" and not even_refused:
                raise InputError(
                    f"model version {name} was refused: {version.reason}; to let it judge all the "
                    "same, add --even-refused"
                )
            self._require_whole(version)
            if switch.active == name and _readable(self.folder):
                return version
            return self._to(switch.to(name, by, why))

    def rollback(self, *, by: str = "", why: str = "rolled back") -> Version:
        """Let the version judge again that was active before this one.

        Raises
        ------
        InputError
            If there is none.
        """
        with self._writing():
            switch = read_switch(self.folder)
            for name in reversed(switch.earlier):
                try:
                    version = self.get(name)
                except InputError:
                    continue  # removed by hand
                if version.state != "refused":
                    self._require_whole(version)
                    place = switch.earlier.index(name)
                    behind = replace(switch, earlier=switch.earlier[:place])
                    return self._to(behind.to(name, by, why, back=True))
            raise InputError(
                f"{self.folder}: no model was active before this one; `--activate RUN_ID` names "
                "any that is there"
            )

    def keep(self, n: int) -> list[str]:
        """Remove the oldest versions until `n` are left.

        Parameters
        ----------
        n : int
            At least 1. The active version, the one that a roll-back leads to, and the latest one
            while it waits are never removed; refused ones go first.

        Returns
        -------
        list of str
            Names of those that were removed.
        """
        if n < 1:
            raise InputError(f"--keep {n}: expected at least 1")
        with self._writing():
            versions, switch = self.all(), self._switch()
            needed = {switch.active, *switch.earlier[-1:]}
            needed |= {one.name for one in versions[:1] if one.state == "waiting"}
            spare = [one for one in versions if one.name not in needed]
            spare.sort(key=lambda one: one.state == "refused")  # stable: the latest first in each
            room = max(0, n - sum(one.name in needed for one in versions))
            removed = [one.name for one in spare[room:]]
            if removed and switch.active is not None:
                write_switch(self.folder, switch.without(set(removed)))
            for name in removed:
                gone = self.folder / derived_name(name, ".gone", ".")
                (self.folder / name).rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            if removed:
                sync_folder(self.folder)
            return removed

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock, and clear what a killed writer left."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder / _LOCK):
            self._clear()
            yield

    def _clear(self) -> None:
        """Remove what is not finished; only with the lock held."""
        for name in os.listdir(self.folder):
            if name.startswith(".") and name != _LOCK:
                left = self.folder / name
                if left.is_dir() and not left.is_symlink():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)

    def _switch(self) -> Switch:
        """What is active; of a damaged file nothing, so that a model can be named again."""
        try:
            return read_switch(self.folder)
        except InputError:
            return Switch()

    def _to(self, switch: Switch) -> Version:
        write_switch(self.folder, switch)
        folder = self.folder / str(switch.active)
        return version_of(folder, read_label(folder), switch)

    def _known(self, name: str, sha256: str) -> Version:
        if not (self.folder / name / LABEL).is_file():
            raise InputError(
                f"{self.folder / name}: is there, and is no model version; move it away"
            )
        found = self.get(name)
        if found.sha256 != sha256:
            raise InputError(
                f"{found.folder}: another model is there under this name (sha256 "
                f"{found.sha256[:12]}..., not {sha256[:12]}...); no version is overwritten"
            )
        return replace(found, known=True)

    def _relabel(self, name: str, **changes: Any) -> Version:
        folder = self.get(name).folder
        label = replace(read_label(folder), **changes)
        write_label(folder, label)
        return version_of(folder, label, self._switch())

    def _without_switch(self, name: str) -> Version:
        folder = self.folder / checked_name(name)
        try:
            return version_of(folder, read_label(folder), Switch())
        except FileNotFoundError:
            raise InputError(f"{self.folder}: no model version {name}") from None

    def _require_whole(self, version: Version) -> None:
        """Refuse to activate what is not the model that was stored."""
        from common.patchcore.model_store import SavedModel

        SavedModel.load(version.folder)
        found = model_sha256(version.folder)
        if found != version.sha256:
            raise InputError(
                f"{version.folder}: has changed since it was stored (sha256 {found[:12]}..., "
                f"{LABEL} says {version.sha256[:12]}...); have the model delivered again"
            )


def _readable(folder: Path) -> bool:
    try:
        read_switch(folder)
    except InputError:
        return False
    return True
