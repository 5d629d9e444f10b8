"""Making a plant's keys: an authority, two servers' certificates, a secret, a key per station.

A second run adds what is missing and replaces nothing, so a new station is one more run. Only
`renew` replaces certificates, never a key: each server's key stays, so that renewing changes one
file at a time and a server is never left with a certificate that does not belong to its key.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from pathlib import Path
from typing import Final

from common.data.partition import AUTOVI_STATIONS, QUALITY_CONTROL
from common.errors import InputError
from common.plant.keys.certificates import new_private_key, normalized_name
from common.plant.keys.key_files import PRIVATE, KeyFolder, NewFile, held, write_files
from common.plant.keys.server_keys import Wanted, copy_of_authority, plan_authority, plan_server
from common.plant.keys.station_keys import (
    private_openssh,
    public_openssh,
    read_public_key,
    read_station_key,
)
from common.protocol.messages import STATION_PATTERN

__all__ = ["DEFAULT_STATIONS", "Wanted", "make_keys"]

DEFAULT_STATIONS: Final = (*(name for name, _ in AUTOVI_STATIONS), QUALITY_CONTROL)
LONGEST_DAYS: Final = 3650


def make_keys(root: Path, wanted: Wanted, now: dt.datetime | None = None) -> list[Path]:
    """Bring a key folder to hold what is wanted; see `KeyFolder` for what it holds.

    Parameters
    ----------
    root : Path
        Made with mode 700 if it is not there.
    wanted : Wanted
    now : datetime, optional
        With a time zone.

    Returns
    -------
    list of Path
        The files that were made, in order; empty if nothing was missing.

    Raises
    ------
    InputError
        If something is wanted that cannot be, or that the folder contradicts; nothing has been
        written then.
    RunError
        If a file cannot be written.
    """
    root, now = root.expanduser().absolute(), now or dt.datetime.now(dt.UTC)
    _refuse_names(wanted)
    if root.is_dir() and any(root.iterdir()) and not _has_keys(root):
        raise InputError(
            f"{root}: is not empty and holds no plant's keys; give a folder that is new, empty or "
            "made by this command"
        )
    with held(root):
        files = _plan(KeyFolder(root), wanted, now)
        write_files(root, files)
    return [file.path for file in files]


def _has_keys(root: Path) -> bool:
    folder = KeyFolder(root)
    marks = (folder.authority_key, folder.authority, *folder.server_certificates, folder.members)
    return any(path.exists() for path in marks)


def _refuse_names(wanted: Wanted) -> None:
    for name in wanted.stations or ():
        if not re.fullmatch(STATION_PATTERN, name):
            raise InputError(
                f"--station {name!r} is no usable name; expected up to 64 letters, digits, dots, "
                "hyphens and underscores, a letter or digit first"
            )
    for name in (*(wanted.gateway or ()), *(wanted.superlink or ())):
        normalized_name(name)
    if wanted.days is not None and not 1 <= wanted.days <= LONGEST_DAYS:
        raise InputError(f"--days {wanted.days}: expected 1 to {LONGEST_DAYS}")


def _plan(folder: KeyFolder, wanted: Wanted, now: dt.datetime) -> list[NewFile]:
    """Everything to be written, in an order in which a run that is cut off can be repeated."""
    authority, files, last = plan_authority(folder, wanted, now)
    stations = _stations(folder, wanted)
    for name in stations:
        files += _station(folder, name)
    servers: list[NewFile] = []
    for home, server, names in (
        (folder.server, "superlink", wanted.superlink),
        (folder.gateway, "gateway", wanted.gateway),
    ):
        servers += plan_server(folder, home, server, names, wanted, authority, now)
    if wanted.days is not None and not servers:
        raise InputError(
            f"{folder.root}: --days is for new certificates and none is to be made; "
            "add --renew to make them anew"
        )
    files += servers
    if not folder.executor_secret.exists():
        secret = secrets.token_hex(32).encode()
        files.append(NewFile(folder.executor_secret, secret, PRIVATE))
    written = {file.path.parent for file in files}
    for home in (folder.server, folder.gateway, *map(folder.station, stations)):
        if home in written or home.is_dir():
            files += copy_of_authority(home, authority)
    return [*files, *last]


def _stations(folder: KeyFolder, wanted: Wanted) -> list[str]:
    """All that are to have a key; the usual ones only where a plant is made for the first time."""
    known = folder.station_names()
    ends = (folder.authority, *folder.server_certificates)
    cut_off = folder.authority_key.exists() and not any(path.exists() for path in ends)
    first_time = not known or cut_off
    usual = DEFAULT_STATIONS if first_time else ()
    return sorted({*known, *(usual if wanted.stations is None else wanted.stations)})


def _station(folder: KeyFolder, name: str) -> list[NewFile]:
    """Key of one station; where only its public half is here, the rest has been handed over."""
    home, member = folder.station(name), folder.member(name)
    key_path = home / "station.key"
    files = []
    if key_path.exists():
        key = read_station_key(key_path)
    elif member.exists():
        return []
    else:
        key = new_private_key()
        files.append(NewFile(key_path, private_openssh(key), PRIVATE))
    # The server's copy comes last: it makes the station a member of the plant.
    for path in (home / "station.pub", member):
        if not path.exists():
            files.append(NewFile(path, public_openssh(key.public_key(), name)))
        elif read_public_key(path) != key.public_key():
            raise InputError(
                f"{path}: does not belong to {key_path}; remove the one that is wrong and run the "
                "command again"
            )
    return files
