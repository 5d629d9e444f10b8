"""Making a plant's keys: an authority, two servers' certificates, a secret, a key per station.

A second run adds what is missing and replaces nothing, so a new station is one more run. Only
`renew` replaces certificates, never a key: each server's key stays, so that renewing changes one
file at a time and a server is never left with a certificate that does not belong to its key.
"""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.data.partition import AUTOVI_STATIONS, QUALITY_CONTROL
from common.errors import InputError
from common.messages import STATION_PATTERN
from common.plant.certificates import (
    SERVER_DAYS,
    certificate_pem,
    make_authority,
    make_server_certificate,
    names_of,
    new_private_key,
    normalized_name,
    private_pem,
    read_certificate,
    read_private_key,
    same_key,
    signed_by,
)
from common.plant.key_files import PRIVATE, KeyFolder, NewFile, held, write_files
from common.plant.station_keys import (
    private_openssh,
    public_openssh,
    read_public_key,
    read_station_key,
)

DEFAULT_STATIONS: Final = (*(name for name, _ in AUTOVI_STATIONS), QUALITY_CONTROL)
LOCAL_NAMES: Final = ("localhost", "127.0.0.1")
"""On every certificate: the executor beside the SuperLink dials it so, and a station's SuperNode
reaches the gateway through a relay on its own machine."""
LONGEST_DAYS: Final = 3650


@dataclass(frozen=True)
class Wanted:
    """What a key folder is asked to hold; None leaves what is there, or the default.

    Attributes
    ----------
    stations : sequence of str or None
        Default for a new folder: the five stations of the AutoVI plant.
    gateway, superlink : sequence of str or None
        DNS names and IP addresses under which each is reached, besides `LOCAL_NAMES`. Default for
        a new folder: `gateway` and `superlink`.
    days : int or None
        Validity of new certificates, default `SERVER_DAYS`.
    renew : bool
        Make new certificates for both servers, from the keys that they have.
    """

    stations: Sequence[str] | None = None
    gateway: Sequence[str] | None = None
    superlink: Sequence[str] | None = None
    days: int | None = None
    renew: bool = False


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
    marks = (folder.authority_key, folder.authority, *folder.server_certificates)
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
    authority, files, last = _authority(folder, wanted, now)
    stations = _stations(folder, wanted)
    for name in stations:
        files += _station(folder, name)
    servers: list[NewFile] = []
    for home, server, names in (
        (folder.server, "superlink", wanted.superlink),
        (folder.gateway, "gateway", wanted.gateway),
    ):
        servers += _server(folder, home, server, names, wanted, authority, now)
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
            files += _copy_of_authority(home, authority)
    return [*files, *last]


def _stations(folder: KeyFolder, wanted: Wanted) -> list[str]:
    """All that are to have a key; the usual ones only where a plant is made for the first time."""
    known = folder.station_names()
    ends = (folder.authority, *folder.server_certificates)
    first_time = not known or not any(path.exists() for path in ends)
    usual = DEFAULT_STATIONS if first_time else ()
    return sorted({*known, *(usual if wanted.stations is None else wanted.stations)})


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None
    """None where the administrator keeps it elsewhere; needed to sign, not to add stations."""


def _authority(
    folder: KeyFolder, wanted: Wanted, now: dt.datetime
) -> tuple[_Authority, list[NewFile], list[NewFile]]:
    """The authority, its files to be written first, and those to be written last of all."""
    path, key_path = folder.authority, folder.authority_key
    key = read_private_key(key_path) if key_path.exists() else None
    if path.exists():
        certificate = read_certificate(path)
        if key is not None and not same_key(certificate, key):
            raise InputError(
                f"{path}: was not made for {key_path}; bring back the pair that belongs together"
            )
        return _Authority(certificate, key), [], []
    first: list[NewFile] = []
    if key is None:
        if not wanted.renew and any(path.exists() for path in folder.server_certificates):
            raise InputError(
                f"{path}: is missing, but servers have certificates; bring it back (every ca.crt "
                "below this folder is a copy), or add --renew for a new authority, whose ca.crt "
                "all stations must get"
            )
        key = new_private_key()
        first.append(NewFile(key_path, private_pem(key), PRIVATE))
    certificate = make_authority(key, now)
    return _Authority(certificate, key), first, [NewFile(path, certificate_pem(certificate))]


def _server(
    folder: KeyFolder,
    home: Path,
    server: str,
    names: Sequence[str] | None,
    wanted: Wanted,
    authority: _Authority,
    now: dt.datetime,
) -> list[NewFile]:
    """Key and certificate of one server, as far as they are missing or to be renewed."""
    path, key_path = home / f"{server}.crt", home / f"{server}.key"
    old = read_certificate(path) if path.exists() else None
    key = read_private_key(key_path) if key_path.exists() else None
    asked = None if names is None else _with_local(names)
    if old is not None and not wanted.renew:
        _refuse_contradiction(folder, server, path, old, key, asked, authority)
        return []
    if old is not None and key is None:
        raise InputError(
            f"{key_path}: is not here, so {path.name} cannot be renewed; bring it back, or remove "
            f"{path} too for a new pair"
        )
    if authority.key is None:
        raise InputError(
            f"{folder.authority_key}: is not here, so {path.name} cannot be signed; bring it back "
            "for as long as this command runs"
        )
    if authority.certificate.not_valid_after_utc <= now:
        raise InputError(
            f"{folder.authority}: expired on {authority.certificate.not_valid_after_utc:%Y-%m-%d};"
            f" move it and {folder.authority_key.name} away and run with --renew: that makes a new"
            " authority, whose ca.crt all stations must get (their keys stay)"
        )
    files = []
    if key is None:
        key = new_private_key()
        files.append(NewFile(key_path, private_pem(key), PRIVATE))
    certificate = make_server_certificate(
        asked or (names_of(old) if old else _with_local([server])),
        key,
        authority.certificate,
        authority.key,
        now,
        wanted.days or SERVER_DAYS,
    )
    files.append(NewFile(path, certificate_pem(certificate), replace=old is not None))
    return files


def _refuse_contradiction(
    folder: KeyFolder,
    server: str,
    path: Path,
    old: x509.Certificate,
    key: ec.EllipticCurvePrivateKey | None,
    asked: tuple[str, ...] | None,
    authority: _Authority,
) -> None:
    if key is not None and not same_key(old, key):
        raise InputError(
            f"{path}: was not made for {path.with_suffix('.key').name} beside it; add --renew to "
            "make a certificate for that key"
        )
    if not signed_by(old, authority.certificate):
        raise InputError(
            f"{path}: was not signed by {folder.authority}; add --renew to sign it anew"
        )
    there = names_of(old)
    if asked and not set(asked) <= set(there):
        renewed = " ".join(f"--{server} {name}" for name in asked if name not in LOCAL_NAMES)
        raise InputError(
            f"{path}: is made for {', '.join(there)}; wanted: {', '.join(asked)}. To make it anew,"
            f" for these names only: fedpatchcore keys {folder.root} --renew {renewed}"
        )


def _with_local(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(normalized_name(name) for name in (*names, *LOCAL_NAMES)))


def _copy_of_authority(home: Path, authority: _Authority) -> list[NewFile]:
    path, content = home / "ca.crt", certificate_pem(authority.certificate)
    if path.exists() and path.read_bytes() == content:
        return []
    return [NewFile(path, content, replace=True)]


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
