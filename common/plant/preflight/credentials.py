"""Preflight of what a station was given: its own key and the authority's certificate."""

from __future__ import annotations

import datetime as dt
import os
import stat
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.check.findings import Kind
from common.errors import InputError
from common.plant.keys.app_keys import read_app_public
from common.plant.keys.certificates import (
    days_left,
    read_certificate,
    read_private_key,
    same_key,
)
from common.plant.keys.key_list import WARNING_DAYS
from common.plant.keys.station_keys import fingerprint, read_station_key
from common.plant.preflight.connection import trusting
from common.plant.preflight.findings import Preflight
from common.plant.station.station_file import StationFile

_KEY: Final = Kind(
    "station-key",
    "error",
    "the server knows a station by its key alone",
    "copy station.key from the plant's key folder, stations/NAME, to this station",
)
_KEY_OPEN: Final = Kind(
    "key-open-to-others",
    "error",
    "whoever can read the key can pass for this station",
    "run `chmod 600` on it",
)
_OTHER_USER: Final = Kind(
    "other-user",
    "warning",
    "what this user may read and write, the station's user may not, or the other way round",
    "run the check again as the user that the station runs as",
)
_CA: Final = Kind(
    "ca-file",
    "error",
    "without the authority's certificate the station cannot tell its server from a stranger",
    "copy ca.crt from the plant's key folder to this station",
)
_CERTIFICATE: Final = Kind(
    "station-certificate",
    "error",
    "the gateway lets in only who shows a certificate of this plant's authority for stations",
    "copy station.pem from the plant's key folder, stations/NAME, to this station",
)
_OWN_EXPIRED: Final = Kind(
    "station-certificate-expired",
    "error",
    "the gateway lets in nobody whose certificate has expired",
    "have the administrator run `fedpatchcore keys DIR --renew --station NAME` and copy "
    "station.pem to this station; if the date above is wrong, set this machine's clock",
)
_OWN_ENDING: Final = Kind(
    "station-certificate-ending",
    "warning",
    "the gateway lets in nobody whose certificate has expired",
    "have the administrator run `fedpatchcore keys DIR --renew --station NAME` in time and copy "
    "station.pem to this station",
)
_APP_KEY: Final = Kind(
    "app-key",
    "error",
    "a station obeys only what is signed by the key of its server's app",
    "copy app.pub from the plant's key folder, stations/NAME, to this station",
)
_EXPIRED: Final = Kind(
    "certificate-expired",
    "error",
    "no station connects to a server whose certificate has expired",
    "renew it with `fedpatchcore keys DIR --renew` and copy gateway.crt to the gateway; if the "
    "date above is wrong, set this machine's clock",
)
_NOT_YET: Final = Kind(
    "certificate-not-yet-valid",
    "error",
    "either this machine's clock is far behind, or the clock of the one that made the certificate "
    "was far ahead",
    "set this machine's clock (NTP); if it is right, renew the certificate",
)
_ENDING: Final = Kind(
    "certificate-ending",
    "warning",
    "no station connects to a server whose certificate has expired",
    "renew it in time with `fedpatchcore keys DIR --renew` and copy gateway.crt to the gateway",
)


def check_key(file: StationFile, report: Preflight) -> None:
    """The station's private key: of the right kind, and readable by its owner alone."""
    try:
        key = read_station_key(file.key)
        facts = file.key.stat()
    except (InputError, OSError) as error:
        report.add(_KEY, file.key, str(error))
        return
    if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
        report.add(_KEY, file.key, f"a key on the curve {key.curve.name}; expected P-384")
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        report.add(_KEY_OPEN, file.key, f"mode {mode:03o}, expected 600")
    if facts.st_uid != os.geteuid():
        found = f"the key belongs to user {facts.st_uid}, this check ran as {os.geteuid()}"
        report.add(_OTHER_USER, file.key, found)
    report.facts["key"] = f"{key.curve.name} {fingerprint(key.public_key())}"


def check_certificate(file: StationFile, report: Preflight, now: dt.datetime) -> None:
    """The station's certificate: with its key, private, of this station, and valid."""
    path = file.certificate
    try:
        certificate, key = read_certificate(path), read_private_key(path)
        facts = path.stat()
    except (InputError, OSError) as error:
        report.add(_CERTIFICATE, path, str(error))
        return
    mode = stat.S_IMODE(facts.st_mode)
    if mode & 0o077:
        report.add(_KEY_OPEN, path, f"mode {mode:03o}, expected 600")
    if not same_key(certificate, key):
        report.add(_CERTIFICATE, path, "the certificate was not made for the key in the same file")
    name = common_name(certificate.subject)
    if name != file.station:
        found = f"the certificate of {name!r}; this station is {file.station!r}"
        report.add(_CERTIFICATE, path, found)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        found = f"this station's certificate is valid from {start:%Y-%m-%d %H:%M} UTC"
        report.add(_NOT_YET, path, f"{found}; {_clock(now)}")
    elif now >= end:
        found = f"this station's certificate expired on {end:%Y-%m-%d %H:%M} UTC"
        report.add(_OWN_EXPIRED, path, f"{found}; {_clock(now)}")
    elif (days := days_left(certificate, now)) <= WARNING_DAYS:
        report.add(_OWN_ENDING, path, f"expires in {days} days, on {end:%Y-%m-%d}")
    report.facts["certificate"] = f"{name}, until {end:%Y-%m-%d}"


def check_app_key(file: StationFile, report: Preflight) -> None:
    """The public key of the server's app."""
    try:
        read_app_public(file.app_key)
    except InputError as error:
        report.add(_APP_KEY, file.app_key, str(error))


def check_authority(file: StationFile, report: Preflight, now: dt.datetime) -> bool:
    """The authority's certificate; returns whether a server can be checked against it."""
    try:
        certificate = read_certificate(file.ca)
        trusting(file.ca)
    except (InputError, OSError) as error:
        report.add(_CA, file.ca, str(error))
        return False
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_authority = basic.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        report.add(_CA, file.ca, "a certificate, but not an authority's")
        return False
    judge_dates(certificate, file.ca, "the authority's certificate", report, now)
    until = certificate.not_valid_after_utc
    report.facts["authority"] = f"{common_name(certificate.subject)}, until {until:%Y-%m-%d}"
    return True


def judge_dates(
    certificate: x509.Certificate, place: Path, what: str, report: Preflight, now: dt.datetime
) -> None:
    """Note a certificate that is not valid yet, not any more, or not for long."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        report.add(
            _NOT_YET, place, f"{what} is valid from {start:%Y-%m-%d %H:%M} UTC; {_clock(now)}"
        )
    elif now >= end:
        report.add(_EXPIRED, place, f"{what} expired on {end:%Y-%m-%d %H:%M} UTC; {_clock(now)}")
    elif (days := days_left(certificate, now)) <= WARNING_DAYS:
        report.add(_ENDING, place, f"{what} expires in {days} days, on {end:%Y-%m-%d}")


def _clock(now: dt.datetime) -> str:
    return f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"


def common_name(name: x509.Name) -> str:
    """The name of an authority, for people."""
    found = name.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()
