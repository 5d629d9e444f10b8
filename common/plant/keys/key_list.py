"""What a key folder holds, what each file is for, when it expires and what is wrong with it."""

from __future__ import annotations

import datetime as dt
import math
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography import x509

from common.errors import InputError
from common.plant.keys.certificates import (
    days_left,
    names_of,
    read_certificate,
    read_certificates,
    read_private_key,
    same_key,
    signed_by,
)
from common.plant.keys.key_files import KeyFolder
from common.plant.keys.revocation import read_revocation_lists, revoked_serials
from common.plant.keys.station_keys import fingerprint, read_public_key, read_station_key

WARNING_DAYS: Final = 60
_NO_STATION: Final = "no station connects"
_NEW_AUTHORITY: Final = (
    "for a new one move ca.key and ca.crt away, run `fedpatchcore keys` with --renew and give "
    "every station the new ca.crt"
)


@dataclass(frozen=True)
class KeyEntry:
    """One file of a key folder, or the folder of one station.

    Attributes
    ----------
    path : Path
        Relative to the key folder.
    purpose : str
        What it is and whom it is for.
    expires : datetime or None
        None for what does not expire.
    problems : tuple of str
        Each with what to do.
    """

    path: Path
    purpose: str
    expires: dt.datetime | None = None
    problems: tuple[str, ...] = ()


def list_keys(root: Path, now: dt.datetime | None = None) -> list[KeyEntry]:
    """Look a key folder over; changes nothing.

    Parameters
    ----------
    root : Path
        Made by `make_keys`.
    now : datetime, optional
        With a time zone.

    Returns
    -------
    list of KeyEntry
        The authority, the server's files, the gateway's, then the stations by name and their
        services at the line. What has been handed over and is not here any more is left out,
        except for stations: the server's list of them says who belongs to the plant.

    Raises
    ------
    InputError
        If there is no authority's certificate, or a file is not what its name says.
    """
    root, now = root.expanduser().absolute(), now or dt.datetime.now(dt.UTC)
    folder = KeyFolder(root)
    if not folder.authority.is_file():
        raise InputError(
            f"{root}: holds no plant's keys (no ca.crt); make them with `fedpatchcore keys {root}`"
        )
    return list(_entries(folder, now))


def _entries(folder: KeyFolder, now: dt.datetime) -> Iterator[KeyEntry]:
    authority = read_certificate(folder.authority)
    name = authority.subject.rfc4514_string().removeprefix("CN=")
    yield KeyEntry(
        folder.authority.relative_to(folder.root),
        f"authority ({name}); a copy goes everywhere",
        authority.not_valid_after_utc,
        tuple(_ending(authority, now, _NEW_AUTHORITY)),
    )
    yield from _private(
        folder, folder.authority_key, "signs certificates; stays with the administrator"
    )
    if folder.stations_authority.exists():
        yield _stations_authority(folder, authority, now)
    yield from _private(
        folder, folder.stations_authority_key, "signs stations' certificates; the administrator's"
    )
    if folder.revoked.exists():
        yield _revocation(folder, now)
    for path, server, host in zip(
        folder.server_certificates, ("SuperLink's", "gateway's"), ("server", "gateway"), strict=True
    ):
        if path.exists():
            renew = f"renew with `fedpatchcore keys {folder.root} --renew`"
            yield _certificate(folder, path, server, authority, now, renew)
        yield from _private(
            folder, path.with_suffix(".key"), f"for the {host}'s host and nobody else"
        )
        if host == "server":
            yield from _private(
                folder, folder.executor_secret, "for the server's host and nobody else"
            )
            yield from _private(
                folder, folder.app_key, "signs what stations are asked; for the executor alone"
            )
    for station in folder.station_names():
        yield _station(folder, station, now)
    for station in folder.service_names():
        yield from _service(folder, station, authority, now)


def _service(
    folder: KeyFolder, station: str, authority: x509.Certificate, now: dt.datetime
) -> Iterator[KeyEntry]:
    """What a station's service at the line has; its private key may have been handed over."""
    path, key = folder.service_files(station)
    renew = f"renew with `fedpatchcore keys {folder.root} --renew --service {station}`"
    whose = f"{station}'s service at the line:"
    entry = _certificate(folder, path, whose, authority, now, renew, "no line posts to it")
    if station not in folder.station_names():
        told = f"{station} is no station of this plant any more; remove {path.parent}"
        entry = replace(entry, problems=(*entry.problems, told))
    yield entry
    yield from _private(folder, key, "for this station's service and nobody else")


def _certificate(
    folder: KeyFolder,
    path: Path,
    server: str,
    authority: x509.Certificate,
    now: dt.datetime,
    renew: str,
    expired: str = _NO_STATION,
) -> KeyEntry:
    certificate, key = read_certificate(path), path.with_suffix(".key")
    problems = _ending(certificate, now, renew, expired)
    if key.exists() and not same_key(certificate, read_private_key(key)):
        problems.append(f"was not made for {key.name} beside it; {renew}")
    if not signed_by(certificate, authority):
        problems.append(f"was not signed by ca.crt; {renew}")
    return KeyEntry(
        path.relative_to(folder.root),
        f"{server} certificate for {', '.join(names_of(certificate))}",
        certificate.not_valid_after_utc,
        tuple(problems),
    )


def _stations_authority(
    folder: KeyFolder, authority: x509.Certificate, now: dt.datetime
) -> KeyEntry:
    path = folder.stations_authority
    certificate = read_certificate(path)
    problems = _ending(certificate, now, _NEW_AUTHORITY)
    if not signed_by(certificate, authority):
        problems.append(
            f"was not signed by ca.crt; renew with `fedpatchcore keys {folder.root} --renew`"
        )
    name = certificate.subject.rfc4514_string().removeprefix("CN=")
    purpose = f"authority of stations' certificates ({name}); a copy for the gateway"
    return KeyEntry(
        path.relative_to(folder.root), purpose, certificate.not_valid_after_utc, tuple(problems)
    )


def _revocation(folder: KeyFolder, now: dt.datetime) -> KeyEntry:
    lists = read_revocation_lists(folder.revoked)
    # A list without an end is none that we made; taken as ended.
    ends = min(crl.next_update_utc or crl.last_update_utc for crl in lists)
    problems = []
    days = math.ceil((ends - now) / dt.timedelta(days=1))
    renew = f"renew with `fedpatchcore keys {folder.root} --renew` and copy it to the gateway"
    if days <= 0:
        problems.append(f"expired on {ends:%Y-%m-%d}: the gateway refuses every station; {renew}")
    elif days <= WARNING_DAYS:
        problems.append(f"expires in {days} days, on {ends:%Y-%m-%d}; {renew}")
    copy = folder.gateway / "revoked.pem"
    if copy.exists() and copy.read_bytes() != folder.revoked.read_bytes():
        problems.append(f"differs from {copy.relative_to(folder.root)}; run `fedpatchcore keys`")
    count = len(revoked_serials(lists))
    purpose = f"revoked certificates of stations: {count}; a copy for the gateway"
    return KeyEntry(folder.revoked.relative_to(folder.root), purpose, ends, tuple(problems))


def _station_certificate(folder: KeyFolder, name: str) -> x509.Certificate | None:
    """The newest certificate of a station that is not revoked."""
    record = folder.issued(name)
    if not record.exists():
        return None
    revoked: frozenset[int] = frozenset()
    if folder.revoked.exists():
        revoked = revoked_serials(read_revocation_lists(folder.revoked))
    left = [one for one in read_certificates(record) if one.serial_number not in revoked]
    return left[-1] if left else None


def _station(folder: KeyFolder, name: str, now: dt.datetime) -> KeyEntry:
    key, member = folder.station(name) / "station.key", folder.member(name)
    problems: list[str] = []
    shown = fingerprint(read_public_key(member)) if member.exists() else ""
    if not shown:
        problems.append("the server does not know it; run `fedpatchcore keys` again")
    if key.exists():
        problems += _open_to_others(key)
        own = fingerprint(read_station_key(key).public_key())
        if shown and own != shown:
            problems.append(
                f"its key is {own}, not that of {member.relative_to(folder.root)}; remove the one "
                "that is wrong and run `fedpatchcore keys` again"
            )
        purpose = f"for this station and nobody else; key {own}"
    else:
        purpose = f"handed over, its private key is not here; key {shown}"
    certificate = _station_certificate(folder, name)
    expires = None if certificate is None else certificate.not_valid_after_utc
    if certificate is None:
        problems.append("has no certificate for the gateway; run `fedpatchcore keys` again")
    else:
        problems += _ending(
            certificate,
            now,
            f"give it a new one: `fedpatchcore keys {folder.root} --renew --station {name}`",
        )
    pem = folder.station(name) / "station.pem"
    if pem.exists():
        problems += _open_to_others(pem)
    path = folder.station(name).relative_to(folder.root)
    return KeyEntry(path, purpose, expires, tuple(problems))


def _private(folder: KeyFolder, path: Path, purpose: str) -> Iterator[KeyEntry]:
    if path.exists():
        problems = tuple(_open_to_others(path))
        yield KeyEntry(path.relative_to(folder.root), purpose, None, problems)


def _open_to_others(path: Path) -> list[str]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return []
    return [f"others than its owner can read it (mode {mode:o}); mend with `chmod 600 {path}`"]


def _ending(
    certificate: x509.Certificate, now: dt.datetime, advice: str, expired: str = _NO_STATION
) -> list[str]:
    """Say that a certificate has expired or will within `WARNING_DAYS`."""
    until, days = certificate.not_valid_after_utc, days_left(certificate, now)
    if days <= 0:
        return [f"expired on {until:%Y-%m-%d}: {expired}; {advice}"]
    if days <= WARNING_DAYS:
        return [f"expires in {days} days, on {until:%Y-%m-%d}; {advice}"]
    return []
