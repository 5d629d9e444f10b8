"""Which apps may run here: `trusted-app` of a station, `--trusted-app` of the executor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from common.errors import InputError
from common.plant.app.archive import read_archive
from common.plant.app.content import App
from common.plant.app.installed import installed_app

INSTALLED: Final = "installed"
ANY: Final = "any"
HASH: Final = re.compile("[0-9a-f]{64}")
OPTION: Final = "--trusted-app"


@dataclass(frozen=True)
class Verdict:
    """Whether an app may run.

    Attributes
    ----------
    app : App or None
        None if the archive holds none.
    refusal : str
        Why not; empty if it may.
    """

    app: App | None
    refusal: str = ""


@dataclass(frozen=True)
class Place:
    """Where apps are allowed or not, for messages.

    Attributes
    ----------
    who : str
    mend : str
        What to do about an app that is refused.
    """

    who: str
    mend: str


STATION: Final = Place(
    "this station",
    "install one version at the server and at the station, and start the station again; or put "
    "the hash into trusted-app of its station.toml",
)
SERVER: Final = Place(
    "this server",
    "install one version at the server and where runs are submitted, and start the executor "
    f"again; or give the executor the hash with {OPTION}",
)


@dataclass(frozen=True)
class Trust:
    """Apps that may run.

    Attributes
    ----------
    hashes : tuple of str
        Of those that are known; none of them means any app at all.
    place : Place
    """

    hashes: tuple[str, ...]
    place: Place

    @classmethod
    def of(cls, setting: str | Sequence[str], place: Place) -> Self:
        """Read a setting; `installed` is looked up now, and stays what it is.

        Parameters
        ----------
        setting : str or sequence of str
            `installed`, `any`, or hashes as `fedpatchcore plant app` prints them.
        place : Place

        Raises
        ------
        InputError
            If it is neither, or the installed app cannot be read.
        """
        words = (setting,) if isinstance(setting, str) else tuple(setting)
        if words == (ANY,):
            return cls((), place)
        if not words:
            raise InputError("trusted-app: no app at all; expected installed, any, or hashes")
        for word in words:
            if word != INSTALLED and not HASH.fullmatch(word):
                raise InputError(
                    f"trusted-app {word!r}: expected {INSTALLED!r}, {ANY!r} alone, or the hash of "
                    "an app: 64 digits, which `fedpatchcore plant app` prints"
                )
        found = [installed_app().hash if word == INSTALLED else word for word in words]
        return cls(tuple(dict.fromkeys(found)), place)

    @property
    def words(self) -> tuple[str, ...]:
        """The setting again, with nothing left to look up."""
        return self.hashes or (ANY,)

    def judge(self, archive: bytes) -> Verdict:
        """Say whether the app of an archive may run; nothing of it is unpacked or imported."""
        try:
            app = read_archive(archive)
        except InputError as error:
            return Verdict(None, f"{error}; {self.place.who} refuses it, as Flower packs none such")
        if not self.hashes or app.hash in self.hashes:
            return Verdict(app)
        more = f" and {len(self.hashes) - 1} more" if len(self.hashes) > 1 else ""
        return Verdict(
            app,
            f"the app {app.hash} is not one that {self.place.who} allows ({self.hashes[0]}{more}); "
            f"{self.place.mend}",
        )

    @property
    def warning(self) -> str:
        """What the log of every run must say; empty where apps are known."""
        if self.hashes:
            return ""
        return (
            f'trusted-app is "{ANY}": {self.place.who} runs whatever app is submitted, with the '
            "rights to read all that it can read"
        )
