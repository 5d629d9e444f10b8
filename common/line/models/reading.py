"""Reading a models folder: which versions there are, which one judges."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from common.line.models.switch import ACTIVE, Switch, read_switch
from common.line.models.version import Label, State, Version, checked_name, read_label

_TRIES: Final = 5


class VersionsReader:
    """A station's model versions, read only: needs no lock and no right to write.

    Parameters
    ----------
    models_dir : Path
        May not be there yet.
    """

    def __init__(self, models_dir: Path) -> None:
        self.folder = models_dir.expanduser().absolute()

    def all(self) -> list[Version]:
        """Every version, the latest first.

        Raises
        ------
        InputError
            If `active.json` or a version's own file is damaged.
        """
        switch, found = read_switch(self.folder), []
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, or no version
                found.append(version_of(folder, read_label(folder), switch))
        return sorted(found, key=lambda one: (one.made_at, one.name), reverse=True)

    def active(self) -> Version | None:
        """Return the version that judges; None if none was ever activated.

        Raises
        ------
        InputError
            If it is not there any more, or its files are damaged.
        """
        for _ in range(_TRIES):
            switch = read_switch(self.folder)
            if switch.active is None:
                return None
            folder = self.folder / checked_name(switch.active)
            try:
                return version_of(folder, read_label(folder), switch)
            except FileNotFoundError:
                continue  # a switch and a removal came in between: look again
        raise InputError(
            f"{self.folder / ACTIVE}: names {switch.active} as the active model, whose folder is "
            "gone; name another with `fedpatchcore models STATION.toml --activate RUN_ID`"
        )

    def get(self, name: str) -> Version:
        """Return a version by name.

        Raises
        ------
        InputError
            If there is none, naming those that are there.
        """
        folder = self.folder / checked_name(name)
        try:
            return version_of(folder, read_label(folder), read_switch(self.folder))
        except FileNotFoundError:
            known = ", ".join(one.name for one in self.all()) or "none"
            raise InputError(
                f"{self.folder}: no model version {name}; there are: {known}"
            ) from None

    def generation(self) -> tuple[int, int] | None:
        """Return something that changes with every switch; costs one `stat`.

        Returns
        -------
        tuple or None
            Time and number of `active.json`; None before the first switch. A service that polls it
            between two parts and reads `active()` when it has changed takes every switch over.
        """
        try:
            found = (self.folder / ACTIVE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_mtime_ns, found.st_ino

    def switches(self) -> list[dict[str, Any]]:
        """Return the last switches, latest last: `when`, `name`, `from`, `by`, `why`."""
        return list(read_switch(self.folder).switches)

    def next_name(self, run_id: str) -> str:
        """Return a free name for a version made at the station: `<run id>.1`, ..."""
        numbers = [
            int(folder.name.removeprefix(f"{run_id}."))
            for folder in self._folders()
            if folder.name.removeprefix(f"{run_id}.").isdecimal()
            and folder.name.startswith(f"{run_id}.")
        ]
        return f"{run_id}.{max(numbers, default=0) + 1}"

    def _folders(self) -> list[Path]:
        """Folders that may hold a version; what begins with a dot is not finished."""
        try:
            names = sorted(os.listdir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.folder / name for name in names if not name.startswith(".")]


def version_of(folder: Path, label: Label, switch: Switch) -> Version:
    """What a label and the switch say together."""
    state: State = "waiting"
    if switch.active == label.name:
        state = "active"
    elif label.refused:
        state = "refused"
    elif label.name in switch.been:
        state = "kept"
    return Version(
        label.name,
        folder,
        label.run_id,
        label.made_at,
        label.parent,
        label.sha256,
        state,
        label.acceptance,
        label.reason,
    )
