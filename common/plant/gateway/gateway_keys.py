"""What the gateway's key folder holds, checked before nginx is given any of it."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.errors import InputError
from common.plant.gateway.gateway_stations import SHOWN, STATIONS, read_stations
from common.plant.keys.certificates import read_certificate
from common.plant.keys.revocation import (
    list_of,
    number_of,
    read_revocation_lists,
    revoked_serials,
)
from common.plant.server.daemons import require_valid

PUBLIC: Final = ("ca.crt", "stations-ca.crt", "gateway.crt", "revoked.pem")
PRIVATE: Final = "gateway.key"
WARN_DAYS: Final = 30
Numbers = dict[tuple[str, bytes], int]


@dataclass(frozen=True)
class GatewayKeys:
    """What one look at the folder found.

    Attributes
    ----------
    stations : dict of str to str
        Name to its Flower key, as its SuperNode sends it: the PEM text in base64.
    ends : dict of str to datetime
        When each certificate and each revocation list ends, by a name that can be shown.
    numbers : dict of (str, bytes) to int
        Number of each authority's revocation list, by the authority's file and public key: another
        authority begins anew.
    revoked : int
        How many certificates are on the lists.
    left_out : list of str
        Files in `stations` that are no station's key, one sentence each.
    """

    stations: dict[str, str]
    ends: dict[str, dt.datetime]
    numbers: Numbers = field(default_factory=dict)
    revoked: int = 0
    left_out: list[str] = field(default_factory=list)

    def ending(self, now: dt.datetime, days: int = WARN_DAYS) -> list[str]:
        """What ends within so many days, and what has ended, one sentence each."""
        return [
            f"{name} {'ended' if end <= now else 'ends'} on {end:%Y-%m-%d %H:%M} UTC: then no "
            "station gets in; make it anew with `fedpatchcore keys` and copy it here"
            for name, end in self.ends.items()
            if end - now < dt.timedelta(days=days)
        ]

    def not_stations(self) -> list[str]:
        """What was left out, one sentence each, and so many at most."""
        more = len(self.left_out) - SHOWN
        return [
            *(f"left out, and no station's: {text}" for text in self.left_out[:SHOWN]),
            *(
                [f"left out, and no station's: {more} more files in {STATIONS}/"]
                if more > 0
                else []
            ),
        ]

    def revocations(self) -> str:
        """The lists' numbers and how many certificates they revoke, in words."""
        lists = [f"list {number} by {name}" for (name, _), number in self.numbers.items()]
        return f"{', '.join(lists)}: {self.revoked_count()}"

    def revoked_count(self) -> str:
        """How many certificates are revoked, in words."""
        return f"{self.revoked} certificate{'' if self.revoked == 1 else 's'} revoked"


def read_gateway_keys(
    keys: Path, now: dt.datetime | None = None, before: GatewayKeys | None = None
) -> GatewayKeys:
    """Check the folder that `fedpatchcore keys` made for the gateway.

    Parameters
    ----------
    keys : Path
    now : datetime with a time zone, optional
    before : GatewayKeys, optional
        What is in force: a revocation list that is older would let revoked stations in again.

    Returns
    -------
    GatewayKeys
        Without the files in `stations` that are no station's key; see `left_out`.

    Raises
    ------
    InputError
        If a file is missing, readable by others, expired, older than what is in force, or does not
        fit another; if two stations have the same key.
    """
    now = now or dt.datetime.now(dt.UTC)
    for name in ("ca.crt", "gateway.crt", PRIVATE, "stations-ca.crt", "revoked.pem"):
        if not (keys / name).is_file():
            raise InputError(
                f"{keys}: has no {name}; --keys takes the folder `gateway` that "
                "`fedpatchcore keys` made"
            )
    _check_pair(keys)
    ends, numbers, revoked = _check_lists(keys, now)
    _check_not_older(keys, numbers, before)
    ends["the gateway's certificate"] = read_certificate(keys / "gateway.crt").not_valid_after_utc
    for name in ("ca.crt", "stations-ca.crt"):
        ends[f"the authority {name}"] = read_certificate(keys / name).not_valid_after_utc
    stations, left_out = read_stations(keys)
    return GatewayKeys(stations, ends, numbers, revoked, left_out)


def looked_at(keys: Path) -> tuple[object, ...]:
    """What changes when the folder does: of each file its inode, size and time."""
    files = [keys / name for name in (*PUBLIC, PRIVATE)]
    found: list[object] = []
    for path in (*files, *sorted((keys / STATIONS).glob("*.pub"))):
        try:
            seen = path.stat()
            found.append((path.name, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_mode))
        except OSError as error:
            found.append((path.name, error.errno))
    return tuple(found)


def _check_pair(keys: Path) -> None:
    try:
        ssl.create_default_context(cafile=str(keys / "ca.crt"))
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{keys / 'ca.crt'}: is no readable PEM certificate ({error})") from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys / "gateway.crt", keys / PRIVATE)
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"{keys}: gateway.crt and gateway.key cannot be used together ({error}); expected "
            "the pair that `fedpatchcore keys` made, readable for this user"
        ) from error
    if (mode := (keys / PRIVATE).stat().st_mode) & 0o077:
        raise InputError(
            f"{keys / PRIVATE}: can be read by others (mode {stat.S_IMODE(mode):o}); make it "
            f"private: chmod 600 {keys / PRIVATE}"
        )
    require_valid(keys / "gateway.crt")


def _check_lists(keys: Path, now: dt.datetime) -> tuple[dict[str, dt.datetime], Numbers, int]:
    """The revocation lists: one of each authority, signed and not expired; ends, numbers, entries.

    nginx refuses every station where one of them is missing or has expired.
    """
    path = keys / "revoked.pem"
    lists = read_revocation_lists(path)
    ends, numbers, found = {}, {}, []
    for name in ("ca.crt", "stations-ca.crt"):
        authority = read_certificate(keys / name)
        own = list_of(authority, lists)
        if own is None:
            raise InputError(
                f"{path}: has no revocation list by {name}, so every station would be refused; "
                "copy revoked.pem from the plant's key folder, beside the authorities' files"
            )
        end = own.next_update_utc or now
        if end <= now:
            raise InputError(
                f"{path}: the revocation list by {name} expired on {end:%Y-%m-%d}, so every "
                "station would be refused; make a new one with `fedpatchcore keys`, and copy it "
                "here"
            )
        ends[f"the revocation list by {name}"] = end
        public = authority.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        numbers[name, public] = number_of(own)
        found.append(own)
    return ends, numbers, sum(len(revoked_serials([own])) for own in found)


def _check_not_older(keys: Path, numbers: Numbers, before: GatewayKeys | None) -> None:
    for which, number in numbers.items():
        in_force = before.numbers.get(which, 0) if before else 0
        if number < in_force:
            raise InputError(
                f"{keys / 'revoked.pem'}: the list by {which[0]} has number {number}, and "
                f"{in_force} is in force: older than the list in force; copy the "
                "newest gateway/revoked.pem"
            )
