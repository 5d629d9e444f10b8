"""Shutting a station out: its certificate revoked, its key no longer the plant's."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError, RunError
from common.plant.keys.certificates import read_certificate, read_certificates, read_private_key
from common.plant.keys.key_files import KeyFolder, NewFile, held, write_files
from common.plant.keys.registered_images import images_toml, read_registered_images
from common.plant.keys.server_keys import Authority
from common.plant.keys.station_credentials import plan_revocation

_OWN: Final = ("station.pem", "station.key", "station.pub", "app.pub", "ca.crt")
"""What `fedpatchcore keys` makes for a station: all that goes when it is revoked."""
_OF_ITS_SERVICE: Final = ("line.crt", "line.key", "ca.crt")


@dataclass(frozen=True)
class Revoked:
    """What revoking a station did.

    Attributes
    ----------
    certificates : int
        How many of its certificates are on the list now.
    removed : list of Path
        Its files in the key folder that are no longer there.
    service_until : datetime or None
        When the certificate of its service at the line ends, if it had one: lines look at no
        revocation list.
    """

    certificates: int
    removed: list[Path]
    service_until: dt.datetime | None = None


def revoke_station(root: Path, name: str, now: dt.datetime | None = None) -> Revoked:
    """Put all certificates of a station on the revocation list, then forget its keys.

    Safe to repeat: the list is written first, and what is left of the station after it.

    Parameters
    ----------
    root : Path
        A plant's key folder.
    name : str
        The station.
    now : datetime, optional
        With a time zone.

    Returns
    -------
    Revoked

    Raises
    ------
    InputError
        If there is no such station, it never had a certificate, or the key of the stations'
        authority is not here; nothing has been changed then.
    RunError
        If a file cannot be written or removed.
    """
    root, now = root.expanduser().absolute(), now or dt.datetime.now(dt.UTC)
    folder = KeyFolder(root)
    for path in (folder.authority, folder.stations_authority):
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; --revoke takes the key folder of a plant whose stations "
                "have certificates (`fedpatchcore keys DIR` adds them to one of an older version)"
            )
    with held(root):
        record = folder.issued(name)
        if not record.is_file():
            known = ", ".join(path.stem for path in sorted(record.parent.glob("*.crt"))) or "none"
            raise InputError(f"--revoke {name}: no station of this name has a certificate: {known}")
        serials = [one.serial_number for one in read_certificates(record)]
        plant, authority = (
            Authority(read_certificate(path), read_private_key(key) if key.exists() else None)
            for path, key in (
                (folder.authority, folder.authority_key),
                (folder.stations_authority, folder.stations_authority_key),
            )
        )
        _, files = plan_revocation(folder, plant, authority, now, serials)
        content = files[0].content if files else folder.revoked.read_bytes()
        copy = folder.gateway / "revoked.pem"
        if folder.gateway.is_dir():
            files.append(NewFile(copy, content, replace=True))
        registered = read_registered_images(folder.registered_images)
        if registered.pop(name, None) is not None:
            files.append(NewFile(folder.registered_images, images_toml(registered), replace=True))
        write_files(root, files)
        home, service = folder.station(name), folder.service(name)
        line, _ = folder.service_files(name)
        until = read_certificate(line).not_valid_after_utc if line.exists() else None
        own = [*(home / one for one in _OWN), *(service / one for one in _OF_ITS_SERVICE)]
        gone = [folder.let_in(name), folder.member(name), *own, record]
        removed = [path for path in gone if path.exists()]
        try:
            for path in removed:
                path.unlink()
            for place in (home, service):
                if place.is_dir() and not any(place.iterdir()):
                    place.rmdir()
        except OSError as error:
            raise RunError(
                f"{error.filename}: cannot be removed ({error.strerror}); {name} is revoked, mend "
                "that and run the command again"
            ) from error
    return Revoked(len(serials), removed, until)
