"""Key and certificate of a station's service at the line: made, kept, made anew."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError
from common.plant.keys.certificates import (
    certificate_pem,
    names_of,
    new_private_key,
    private_pem,
    read_certificate,
    read_private_key,
    same_key,
    signed_by,
)
from common.plant.keys.key_files import PRIVATE, KeyFolder, NewFile
from common.plant.keys.server_keys import (
    LOCAL_NAMES,
    Authority,
    Wanted,
    require_signer,
    with_local,
)
from common.plant.keys.signing import CERTIFICATE_DAYS, make_server_certificate


def plan_services(
    folder: KeyFolder,
    wanted: Wanted,
    stations: Collection[str],
    authority: Authority,
    now: dt.datetime,
) -> list[NewFile]:
    """Files of the services, as far as they are wanted and missing, or to be renewed.

    Parameters
    ----------
    folder : KeyFolder
    wanted : Wanted
    stations : collection of str
        Those of the plant, the ones that this run adds among them.
    authority : Authority
        The plant's.
    now : datetime

    Raises
    ------
    InputError
        If the service's station is none of the plant's, a name is a server's, or what is there
        says otherwise.

    Notes
    -----
    A service that is renewed keeps its key, which need not be here: the old certificate has its
    public half, and the station has the rest.
    """
    if wanted.service is not None and wanted.service not in stations:
        raise InputError(
            f"--service {wanted.service}: no station of this plant; known are "
            f"{', '.join(sorted(stations))} (--station adds one)"
        )
    names = {*folder.service_names(), *([wanted.service] if wanted.service else ())}
    return [file for name in sorted(names) for file in _plan(folder, name, wanted, authority, now)]


def _plan(
    folder: KeyFolder, name: str, wanted: Wanted, authority: Authority, now: dt.datetime
) -> list[NewFile]:
    path, key_path = folder.service_files(name)
    hosts = wanted.hosts if name == wanted.service else None
    asked = None if hosts is None else with_local(hosts)
    if asked is not None:
        _refuse_names_of_servers(folder, wanted, asked)
    old = read_certificate(path) if path.exists() else None
    key = read_private_key(key_path) if key_path.exists() else None
    if old is not None and not wanted.renew_service(name):
        if name == wanted.service:
            _refuse_contradiction(folder, name, path, old, key, asked, authority)
        return []
    signer = require_signer(folder, path, authority, now)
    files = []
    public = None if old is None else old.public_key()
    if key is None and not isinstance(public, ec.EllipticCurvePublicKey):
        key = new_private_key()
        files.append(NewFile(key_path, private_pem(key), PRIVATE))
    if key is not None:
        public = key.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    names = asked or (names_of(old) if old else with_local([name]))
    days = wanted.days or CERTIFICATE_DAYS
    made = make_server_certificate(names, public, authority.certificate, signer, now, days)
    return [*files, NewFile(path, certificate_pem(made), replace=old is not None)]


def _refuse_contradiction(
    folder: KeyFolder,
    name: str,
    path: Path,
    old: x509.Certificate,
    key: ec.EllipticCurvePrivateKey | None,
    asked: tuple[str, ...] | None,
    authority: Authority,
) -> None:
    """Say what a certificate that is there is not, with the command that makes it so."""
    there = names_of(old)
    anew = f"fedpatchcore keys {folder.root} --renew --service {name}"
    if key is not None and not same_key(old, key):
        raise InputError(f"{path}: was not made for the key beside it; for one that is: {anew}")
    if not signed_by(old, authority.certificate):
        raise InputError(f"{path}: was not signed by {folder.authority}; to sign it anew: {anew}")
    if asked is not None and set(asked) != set(there):
        hosts = " ".join(f"--host {one}" for one in asked if one not in LOCAL_NAMES)
        raise InputError(
            f"{path}: is made for {', '.join(there)}; wanted: {', '.join(asked)}. To make it anew "
            f"from the same key, for these names only: {anew} {hosts}"
        )


def _refuse_names_of_servers(folder: KeyFolder, wanted: Wanted, asked: Sequence[str]) -> None:
    """A station's service must not be able to pass for the gateway or the SuperLink."""
    known = {*(wanted.gateway or ()), *(wanted.superlink or ())}
    for path in folder.server_certificates:
        if path.exists():
            known |= set(names_of(read_certificate(path)))
    if taken := sorted((known & set(asked)) - set(LOCAL_NAMES)):
        raise InputError(
            f"--host {taken[0]}: is a name of the gateway or the SuperLink, for which a station's "
            "service could then pass; give the service a name of its own"
        )
