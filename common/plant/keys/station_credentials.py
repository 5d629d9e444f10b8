"""What stations come through the gateway with: their own authority, certificates, revocation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from cryptography import x509

from common.errors import InputError
from common.plant.keys.certificates import (
    certificate_pem,
    new_private_key,
    private_pem,
    read_certificate,
    read_certificates,
    read_private_key,
    same_key,
    signed_by,
)
from common.plant.keys.key_files import PRIVATE, KeyFolder, NewFile
from common.plant.keys.revocation import (
    list_of,
    make_revocation_list,
    read_revocation_lists,
    revocation_pem,
    revoked_serials,
)
from common.plant.keys.server_keys import Authority, Wanted, may_sign_authorities
from common.plant.keys.signing import (
    CERTIFICATE_DAYS,
    make_station_certificate,
    make_stations_authority,
)


def plan_stations_authority(
    folder: KeyFolder, wanted: Wanted, plant: Authority, now: dt.datetime
) -> tuple[Authority, list[NewFile], list[NewFile]]:
    """The stations' authority, its files to be written first, and those to be written last."""
    path, key_path = folder.stations_authority, folder.stations_authority_key
    key = read_private_key(key_path) if key_path.exists() else None
    old = read_certificate(path) if path.exists() else None
    if old is not None and key is not None and not same_key(old, key):
        raise InputError(
            f"{path}: was not made for {key_path}; bring back the pair that belongs together"
        )
    if old is not None and signed_by(old, plant.certificate):
        return Authority(old, key), [], []
    if old is not None and not wanted.renew:
        raise InputError(
            f"{path}: was not signed by {folder.authority}; add --renew to sign it anew"
        )
    if old is not None and key is None:
        raise InputError(
            f"{key_path}: is not here, so {path.name} cannot be signed anew; bring it back for as "
            "long as this command runs"
        )
    if plant.key is None:
        raise InputError(
            f"{folder.authority_key}: is not here, so {path.name}, the authority that signs the "
            "stations' certificates, cannot be signed; bring it back for as long as this command "
            "runs (once: stations are added without it later)"
        )
    assert may_sign_authorities(plant.certificate)  # `plan_authority` has seen to it
    first: list[NewFile] = []
    if key is None:
        key = new_private_key()
        first.append(NewFile(key_path, private_pem(key), PRIVATE))
    made = make_stations_authority(key, plant.certificate, plant.key, now)
    last = [NewFile(path, certificate_pem(made), replace=old is not None)]
    return Authority(made, key), first, last


def plan_certificate(
    folder: KeyFolder,
    name: str,
    wanted: Wanted,
    authority: Authority,
    lists: Iterable[x509.CertificateRevocationList],
    now: dt.datetime,
) -> list[NewFile]:
    """`station.pem` of one station, if it never had one or is to have a new one.

    The record is written first: a certificate that nobody has a record of cannot be revoked.
    """
    record, path = folder.issued(name), folder.station(name) / "station.pem"
    issued = read_certificates(record) if record.exists() else []
    revoked = revoked_serials(lists)
    usable = [one for one in issued if one.serial_number not in revoked]
    if usable and not wanted.renew_station(name):
        # Recorded, and cut off before it was written: the key of that one is nowhere.
        recorded_only = not path.exists() and folder.station(name).joinpath("station.key").exists()
        if not recorded_only:
            return []
    if authority.key is None:
        raise InputError(
            f"{folder.stations_authority_key}: is not here, so {name} cannot have a certificate; "
            "bring it back for as long as this command runs"
        )
    key = new_private_key()
    days = wanted.days or CERTIFICATE_DAYS
    made = make_station_certificate(name, key, authority.certificate, authority.key, now, days)
    record_content = b"".join(certificate_pem(one) for one in (*issued, made))
    return [
        NewFile(record, record_content, replace=True),
        NewFile(path, private_pem(key) + certificate_pem(made), PRIVATE, replace=True),
    ]


def plan_revocation(
    folder: KeyFolder,
    plant: Authority,
    authority: Authority,
    now: dt.datetime,
    revoke: Sequence[int] = (),
    renew: bool = False,
) -> tuple[list[x509.CertificateRevocationList], list[NewFile]]:
    """The lists of both authorities, and their file if it is to be written.

    Parameters
    ----------
    folder : KeyFolder
    plant, authority : Authority
        The plant's and the stations'.
    now : datetime
    revoke : sequence of int
        Serial numbers to be revoked.
    renew : bool
        Begin an empty list where the old one is lost.

    Raises
    ------
    InputError
        If the file is lost while stations have certificates, or a key is needed that is not here.
    """
    path = folder.revoked
    there = read_revocation_lists(path) if path.exists() else []
    if not there and folder.stations_authority.exists() and not renew:
        raise InputError(
            f"{path}: is missing, and without it whoever was revoked would be let in again; bring "
            "it back (the gateway has a copy), or add --renew to begin an empty one"
        )
    lists = []
    for who, key_path, serials in (
        (plant, folder.authority_key, ()),
        (authority, folder.stations_authority_key, tuple(revoke)),
    ):
        own = list_of(who.certificate, there)
        fresh = set(serials) - revoked_serials([own] if own else [])
        if own is None and there and not renew:
            raise InputError(
                f"{path}: holds no list of {key_path.with_suffix('.crt').name}, and without it "
                "whoever was revoked would be let in again; bring it back (the gateway has a "
                "copy), or add --renew to begin an empty one"
            )
        if own is None or fresh or (who.key and _ends_early(own, who.certificate)):
            if who.key is None:
                raise InputError(
                    f"{key_path}: is not here, so {path.name} cannot be signed; bring it back for "
                    "as long as this command runs"
                )
            own = make_revocation_list(who.certificate, who.key, now, own, fresh)
        lists.append(own)
    content = revocation_pem(lists)
    if path.exists() and path.read_bytes() == content:
        return lists, []
    return lists, [NewFile(path, content, replace=True)]


def _ends_early(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Whether a list ends before its authority, which was made anew since."""
    ends = crl.next_update_utc
    return ends is None or ends < authority.not_valid_after_utc - dt.timedelta(days=1)
