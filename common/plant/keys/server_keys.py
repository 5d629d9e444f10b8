"""Which files of the authority and of the two servers are missing, or to be made anew."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError
from common.plant.keys.certificates import (
    certificate_pem,
    names_of,
    new_private_key,
    normalized_name,
    private_pem,
    read_certificate,
    read_private_key,
    same_key,
    signed_by,
)
from common.plant.keys.key_files import PRIVATE, KeyFolder, NewFile
from common.plant.keys.signing import (
    CERTIFICATE_DAYS,
    make_authority,
    make_server_certificate,
)

LOCAL_NAMES: Final = ("localhost", "127.0.0.1")
"""On every certificate: the executor beside the SuperLink dials it so, and a station's SuperNode
reaches the gateway through a relay on its own machine."""


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
        Validity of new certificates, default `CERTIFICATE_DAYS`.
    renew : bool
        Make new certificates: for both servers, from the keys that they have, and for every
        station and service. If `gateway` or `superlink` is given, for the servers alone; if
        `stations` is, for these stations alone; if `service` is, for that service alone.
    images : int or None
        How many training images each of `stations` may count for in a run; registers it.
    service : str or None
        A station whose service at the line is to have a certificate.
    hosts : sequence of str or None
        DNS names and IP addresses under which that service is reached, besides `LOCAL_NAMES`.
        Default for a new one: the station's name.
    """

    stations: Sequence[str] | None = None
    gateway: Sequence[str] | None = None
    superlink: Sequence[str] | None = None
    days: int | None = None
    renew: bool = False
    images: int | None = None
    service: str | None = None
    hosts: Sequence[str] | None = None

    @property
    def renew_servers(self) -> bool:
        """Whether both servers are to have new certificates."""
        named = self.gateway is not None or self.superlink is not None
        return self.renew and (named or (self.stations is None and self.service is None))

    def renew_station(self, name: str) -> bool:
        """Whether a station is to have a new certificate."""
        if self.stations is not None:
            return self.renew and name in self.stations
        others = (self.gateway, self.superlink, self.service)
        return self.renew and all(one is None for one in others)

    def renew_service(self, name: str) -> bool:
        """Whether a station's service at the line is to have a new certificate."""
        if self.service is not None:
            return self.renew and name == self.service
        others = (self.gateway, self.superlink, self.stations)
        return self.renew and all(one is None for one in others)


@dataclass(frozen=True)
class Authority:
    """Who signs.

    Attributes
    ----------
    certificate : Certificate
    key : private key or None
        None where the administrator keeps it elsewhere: needed to sign, not to add stations.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None


def plan_authority(
    folder: KeyFolder, wanted: Wanted, now: dt.datetime
) -> tuple[Authority, list[NewFile], list[NewFile]]:
    """The authority, its files to be written first, and those to be written last of all."""
    path, key_path = folder.authority, folder.authority_key
    key = read_private_key(key_path) if key_path.exists() else None
    if path.exists():
        certificate = read_certificate(path)
        if key is not None and not same_key(certificate, key):
            raise InputError(
                f"{path}: was not made for {key_path}; bring back the pair that belongs together"
            )
        if key is None or may_sign_authorities(certificate):
            return Authority(certificate, key), [], []
        # As the first version made it. From the same key and with the same name, so whoever has
        # the old one goes on trusting what either has signed.
        certificate = make_authority(key, now)
        new = NewFile(path, certificate_pem(certificate), replace=True)
        return Authority(certificate, key), [], [new]
    first: list[NewFile] = []
    if key is None:
        if not wanted.renew_servers and any(path.exists() for path in folder.server_certificates):
            raise InputError(
                f"{path}: is missing, but servers have certificates; bring it back (every ca.crt "
                "below this folder is a copy), or add --renew for a new authority, whose ca.crt "
                "all stations must get"
            )
        key = new_private_key()
        first.append(NewFile(key_path, private_pem(key), PRIVATE))
    certificate = make_authority(key, now)
    return Authority(certificate, key), first, [NewFile(path, certificate_pem(certificate))]


def plan_server(
    folder: KeyFolder,
    home: Path,
    server: str,
    names: Sequence[str] | None,
    wanted: Wanted,
    authority: Authority,
    now: dt.datetime,
) -> list[NewFile]:
    """Key and certificate of one server, as far as they are missing or to be renewed."""
    path, key_path = home / f"{server}.crt", home / f"{server}.key"
    old = read_certificate(path) if path.exists() else None
    key = read_private_key(key_path) if key_path.exists() else None
    asked = None if names is None else with_local(names)
    if old is not None and not wanted.renew_servers:
        _refuse_contradiction(folder, server, path, old, key, asked, authority)
        return []
    if old is not None and key is None:
        raise InputError(
            f"{key_path}: is not here, so {path.name} cannot be renewed; bring it back, or remove "
            f"{path} too for a new pair"
        )
    signer = require_signer(folder, path, authority, now)
    files = []
    if key is None:
        key = new_private_key()
        files.append(NewFile(key_path, private_pem(key), PRIVATE))
    certificate = make_server_certificate(
        asked or (names_of(old) if old else with_local([server])),
        key.public_key(),
        authority.certificate,
        signer,
        now,
        wanted.days or CERTIFICATE_DAYS,
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
    authority: Authority,
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


def require_signer(
    folder: KeyFolder, path: Path, authority: Authority, now: dt.datetime
) -> ec.EllipticCurvePrivateKey:
    """Key of the plant's authority, to sign a file with.

    Raises
    ------
    InputError
        If it is not here, or the authority has expired.
    """
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
    return authority.key


def with_local(names: Sequence[str]) -> tuple[str, ...]:
    """Names of a certificate: those given, and by which its own machine reaches it."""
    return tuple(dict.fromkeys(normalized_name(name) for name in (*names, *LOCAL_NAMES)))


def may_sign_authorities(certificate: x509.Certificate) -> bool:
    """Whether an authority may sign that of the stations; the first version's may not."""
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    return limits.path_length is None or limits.path_length >= 1


def copied(path: Path, content: bytes) -> list[NewFile]:
    """A copy of a file for another folder, unless it is there."""
    if path.exists() and path.read_bytes() == content:
        return []
    return [NewFile(path, content, replace=True)]
