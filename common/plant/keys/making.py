"""Making a plant's keys: authorities, two servers' certificates, secrets, each station's own.

A second run adds what is missing and replaces nothing, so a new station is one more run. Only
`renew` replaces certificates. A server's key stays then, so that renewing changes one file at a
time and a server is never left with a certificate that does not belong to its key; a station's
certificate and the key for it are one file, and renewing makes both.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from pathlib import Path
from typing import Final

from common.data.partition import AUTOVI_STATIONS, QUALITY_CONTROL
from common.errors import InputError
from common.plant.keys.app_keys import (
    app_private_pem,
    app_public_pem,
    new_app_key,
    read_app_key,
    read_app_public,
)
from common.plant.keys.certificates import certificate_pem, new_private_key, normalized_name
from common.plant.keys.key_files import PRIVATE, KeyFolder, NewFile, held, write_files
from common.plant.keys.registered_images import images_toml, read_registered_images
from common.plant.keys.server_keys import (
    Wanted,
    copied,
    plan_authority,
    plan_server,
)
from common.plant.keys.service_keys import plan_services
from common.plant.keys.station_credentials import (
    plan_certificate,
    plan_revocation,
    plan_stations_authority,
)
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
    if wanted.hosts is not None and wanted.service is None:
        raise InputError("--host is for --service NAME; see --help")
    for name in (*(wanted.stations or ()), *([wanted.service] if wanted.service else ())):
        if not re.fullmatch(STATION_PATTERN, name):
            raise InputError(
                f"{name!r} is no usable name of a station; expected up to 64 letters, digits, "
                "dots, hyphens and underscores, a letter or digit first"
            )
    for name in (*(wanted.gateway or ()), *(wanted.superlink or ()), *(wanted.hosts or ())):
        normalized_name(name)
    if wanted.images is not None and (wanted.images < 1 or not wanted.stations):
        raise InputError(
            f"--images {wanted.images}: expected a number of training images, from 1 on, of the "
            "stations that --station names"
        )
    if wanted.days is not None and not 1 <= wanted.days <= LONGEST_DAYS:
        raise InputError(f"--days {wanted.days}: expected 1 to {LONGEST_DAYS}")


def _plan(folder: KeyFolder, wanted: Wanted, now: dt.datetime) -> list[NewFile]:
    """Everything to be written, in an order in which a run that is cut off can be repeated."""
    plant, files, last = plan_authority(folder, wanted, now)
    authority, first, then = plan_stations_authority(folder, wanted, plant, now)
    files, last = [*files, *first], [*then, *last]
    lists, revoked = plan_revocation(folder, plant, authority, now, renew=wanted.renew)
    files += revoked
    app_public, app_files = _app_key(folder)
    files += app_files
    stations = _stations(folder, wanted)
    members: dict[str, bytes] = {}
    certified: list[NewFile] = []
    for name in stations:
        made, members[name] = _station(folder, name)
        files += made
        certified += plan_certificate(folder, name, wanted, authority, lists, now)
    servers: list[NewFile] = []
    for home, server, names in (
        (folder.server, "superlink", wanted.superlink),
        (folder.gateway, "gateway", wanted.gateway),
    ):
        servers += plan_server(folder, home, server, names, wanted, plant, now)
    servers += plan_services(folder, wanted, stations, plant, now)
    if wanted.days is not None and not servers and not certified:
        raise InputError(
            f"{folder.root}: --days is for new certificates and none is to be made; "
            "add --renew to make them anew"
        )
    files += [*certified, *servers]
    if not folder.executor_secret.exists():
        secret = secrets.token_hex(32).encode()
        files.append(NewFile(folder.executor_secret, secret, PRIVATE))
    written = {file.path.parent for file in files}

    def gets(home: Path) -> bool:
        return home in written or home.is_dir()

    ca = certificate_pem(plant.certificate)
    for home in filter(gets, (folder.server, folder.gateway)):
        files += copied(home / "ca.crt", ca)
    for name in {*folder.service_names(), *([wanted.service] if wanted.service else ())}:
        files += copied(folder.service(name) / "ca.crt", ca)
    for home in filter(gets, map(folder.station, stations)):
        files += [*copied(home / "ca.crt", ca), *copied(home / "app.pub", app_public)]
    if gets(folder.gateway):
        crl = revoked[0].content if revoked else folder.revoked.read_bytes()
        stations_ca = certificate_pem(authority.certificate)
        files += copied(folder.gateway / "stations-ca.crt", stations_ca)
        files += copied(folder.gateway / "revoked.pem", crl)
        for name in stations:
            files += copied(folder.let_in(name), members[name])
    return [*files, *_images(folder, wanted), *last]


def _images(folder: KeyFolder, wanted: Wanted) -> list[NewFile]:
    """The registered numbers of images, with those that are wanted."""
    if wanted.images is None:
        return []
    path = folder.registered_images
    known = read_registered_images(path)
    known.update(dict.fromkeys(wanted.stations or (), wanted.images))
    return copied(path, images_toml(known))


def _app_key(folder: KeyFolder) -> tuple[bytes, list[NewFile]]:
    """Public half of the app's key, and its files as far as they are missing."""
    path, public = folder.app_key, folder.app_public
    if not path.exists() and public.exists():  # the executor's host alone has the key
        return app_public_pem(read_app_public(public)), []
    key = read_app_key(path) if path.exists() else new_app_key()
    content = app_public_pem(key.public_key())
    files = [] if path.exists() else [NewFile(path, app_private_pem(key), PRIVATE)]
    if not public.exists():
        files.append(NewFile(public, content))
    elif read_app_public(public) != key.public_key():
        raise InputError(
            f"{public}: does not belong to {path}; remove the one that is wrong and run the "
            "command again (a new app.pub must go to every station)"
        )
    return content, files


def _stations(folder: KeyFolder, wanted: Wanted) -> list[str]:
    """All that are to have a key; the usual ones only where a plant is made for the first time."""
    known = folder.station_names()
    ends = (folder.authority, *folder.server_certificates)
    cut_off = folder.authority_key.exists() and not any(path.exists() for path in ends)
    first_time = not known or cut_off
    usual = DEFAULT_STATIONS if first_time else ()
    return sorted({*known, *(usual if wanted.stations is None else wanted.stations)})


def _station(folder: KeyFolder, name: str) -> tuple[list[NewFile], bytes]:
    """Flower's key of one station, and its public half as a line.

    Where only the public half is here, the rest has been handed over.
    """
    home, member = folder.station(name), folder.member(name)
    key_path = home / "station.key"
    files = []
    if key_path.exists():
        key = read_station_key(key_path)
    elif member.exists():
        return [], public_openssh(read_public_key(member), name)
    else:
        key = new_private_key()
        files.append(NewFile(key_path, private_openssh(key), PRIVATE))
    # The server's copy comes last: it makes the station a member of the plant.
    line = public_openssh(key.public_key(), name)
    for path in (home / "station.pub", member):
        if not path.exists():
            files.append(NewFile(path, line))
        elif read_public_key(path) != key.public_key():
            raise InputError(
                f"{path}: does not belong to {key_path}; remove the one that is wrong and run the "
                "command again"
            )
    return files, line
