"""`active.json`: which version is active, and which were before; one rename switches."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.errors import InputError, explained
from common.patchcore.model_folder import sync_folder
from common.paths import json_text
from common.system.files import replacing

ACTIVE: Final = "active.json"
_FORMAT: Final = 1
_MOST_SWITCHES: Final = 200
_LONGEST_TEXT: Final = 500


@dataclass(frozen=True)
class Switch:
    """What `active.json` says.

    Attributes
    ----------
    active : str or None
        Name of the active version.
    earlier : tuple of str
        What was active before, the latest last: the way back of `rollback`.
    been : tuple of str
        All that were ever active here, as far as they are still kept.
    switches : tuple of dict
        `when`, `name`, `from`, `by` and `why` of the last 200 switches, the latest last.
    """

    active: str | None = None
    earlier: tuple[str, ...] = ()
    been: tuple[str, ...] = ()
    switches: tuple[dict[str, Any], ...] = ()

    def to(self, name: str, by: str, why: str, *, back: bool = False) -> Switch:
        """Switch to another version; `back` takes the way that the switches before came."""
        way = [one for one in self.earlier if one != name]
        if self.active is not None and not back:
            way = [*(one for one in way if one != self.active), self.active]
        switch = {
            "when": now(),
            "name": name,
            "from": self.active,
            "by": by[:_LONGEST_TEXT],
            "why": why[:_LONGEST_TEXT],
        }
        been = tuple(dict.fromkeys((*self.been, name)))
        return Switch(name, tuple(way), been, (*self.switches, switch)[-_MOST_SWITCHES:])

    def without(self, gone: set[str]) -> Switch:
        """Forget versions that are no longer kept."""
        return replace(
            self,
            earlier=tuple(name for name in self.earlier if name not in gone),
            been=tuple(name for name in self.been if name not in gone),
        )


def read_switch(folder: Path) -> Switch:
    """Read `active.json` of a models folder; without one nothing is active.

    Raises
    ------
    InputError
        If it is damaged.
    """
    path = folder / ACTIVE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT:
            raise InputError(f"{path}: format {facts['format']!r}; this version reads {_FORMAT}")
        names = [facts["active"], *facts["earlier"], *facts["been"]]
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a name is no text")
        return Switch(
            facts["active"],
            tuple(facts["earlier"]),
            tuple(facts["been"]),
            tuple(dict(one) for one in facts["switches"]),
        )
    except FileNotFoundError:
        return Switch()
    except OSError as error:
        raise InputError(explained(error)) from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path}: does not say which model is active ({type(error).__name__}: {error}); name "
            "it again with `fedpatchcore models STATION.toml --activate RUN_ID`"
        ) from error


def write_switch(folder: Path, switch: Switch) -> None:
    """Write `active.json`; the rename is the switch, and it is durable on return."""
    with replacing(folder / ACTIVE, durable=True) as file:
        file.write((json_text({"format": _FORMAT, **asdict(switch)}) + "\n").encode())
    sync_folder(folder)


def now() -> str:
    """The time, ISO 8601, UTC, to the microsecond: versions are ordered by it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
