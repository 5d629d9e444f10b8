"""Preflight of where a service at the line listens: its certificate, and who has its port."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import http.client
import json
import socket
import ssl
import stat
from typing import Final

from cryptography import x509

from common.check.findings import Kind
from common.errors import InputError
from common.line.service.access import OWN_ADDRESSES
from common.plant.keys.certificates import (
    days_left,
    names_of,
    read_certificate,
    read_private_key,
    same_key,
    signed_by,
)
from common.plant.keys.key_list import WARNING_DAYS
from common.plant.keys.server_keys import LOCAL_NAMES
from common.plant.preflight.findings import Preflight
from common.plant.station.line_section import LineSection
from common.plant.station.station_file import StationFile

_ALL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that stand for all of a machine's, and how it reaches itself there."""
_RENEW: Final = (
    "have the administrator run `fedpatchcore keys DIR --renew --service NAME`, copy line.crt here "
    "and restart the service"
)
_CERTIFICATE: Final = Kind(
    "line-certificate",
    "error",
    "a line's controller posts only to a service that it can tell from a stranger",
    "copy line.crt and line.key from the plant's key folder, services/NAME, to this station "
    "(`fedpatchcore keys DIR --service NAME --host HOST` makes them)",
)
_KEY_OPEN: Final = Kind(
    "line-key-open-to-others",
    "error",
    "whoever can read the key can pass for this service, and the service does not start",
    "run `chmod 600` on it",
)
_ENDED: Final = Kind(
    "line-certificate-expired",
    "error",
    "no line posts to a service whose certificate is over",
    f"{_RENEW}; if the date above is wrong, set this machine's clock",
)
_ENDING: Final = Kind(
    "line-certificate-ending",
    "warning",
    "no line posts to a service whose certificate is over",
    _RENEW,
)
_NAMES: Final = Kind(
    "line-names",
    "warning",
    "the service answers to the names in its certificate alone",
    "have the administrator run `fedpatchcore keys DIR --renew --service NAME --host HOST` with "
    "each name and address that lines dial",
)
_PORT: Final = Kind(
    "line-port",
    "error",
    "the service does not start where it cannot listen",
    "stop what has the port, or mend host and port in [line]",
)
_OLD: Final = Kind(
    "line-certificate-not-in-use",
    "warning",
    "a service reads its certificate when it starts, and goes on with the old one",
    "restart the service",
)


def check_line_certificate(
    file: StationFile, line: LineSection, report: Preflight, now: dt.datetime
) -> bool:
    """Certificate and key of the service, if it has or needs one; returns whether it has."""
    if line.certificate is None or line.certificate_key is None:
        if line.host not in OWN_ADDRESSES:
            report.add(
                _CERTIFICATE,
                file.path,
                f"host {line.host} can be reached by others, which takes TLS, and [line] names no "
                "certificate",
            )
        return False
    path, key_path = line.certificate, line.certificate_key
    try:
        certificate, key = read_certificate(path), read_private_key(key_path)
        mode = stat.S_IMODE(key_path.stat().st_mode)
    except (InputError, OSError) as error:
        report.add(_CERTIFICATE, path, str(error))
        return True
    if mode & 0o077:
        report.add(_KEY_OPEN, key_path, f"mode {mode:03o}, expected 600")
    if not same_key(certificate, key):
        report.add(_CERTIFICATE, path, f"was not made for {key_path}")
    # Who only serves may have no ca.crt: the lines have it.
    with contextlib.suppress(InputError):
        if not signed_by(certificate, read_certificate(file.ca)):
            report.add(_CERTIFICATE, path, f"was not signed by {file.ca}")
    _check_names(line, certificate, report)
    until = certificate.not_valid_after_utc
    if now >= until:
        report.add(_ENDED, path, f"expired on {until:%Y-%m-%d %H:%M} UTC")
    elif (days := days_left(certificate, now)) <= WARNING_DAYS:
        report.add(_ENDING, path, f"expires in {days} days, on {until:%Y-%m-%d}")
    names = ", ".join(names_of(certificate))
    report.facts["line certificate"] = f"{names}, until {until:%Y-%m-%d}"
    return True


def _check_names(line: LineSection, certificate: x509.Certificate, report: Preflight) -> None:
    names, path = set(names_of(certificate)), line.certificate
    assert path is not None
    if line.host in OWN_ADDRESSES:
        return
    if not names - set(LOCAL_NAMES):
        found = f"is for {', '.join(sorted(names)) or 'no name'}; others reach {line.host}"
        report.add(_NAMES, path, found)
    elif line.host not in (*_ALL, *names):
        report.add(
            _NAMES, path, f"is for {', '.join(sorted(names))}, and not for {line.host} itself"
        )


def check_port(line: LineSection, report: Preflight, seconds: float) -> None:
    """The port is free, or our service has it."""
    place = f"{line.host}:{line.port}"
    family = socket.AF_INET6 if ":" in line.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as own:
        # As the service does: one that has just ended does not hold its port.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind((line.host, line.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                found = f"{place} cannot be listened on ({error.strerror})"
                report.add(_PORT, line.journal, found)
                return
        else:
            report.facts["line port"] = f"{place} is free"
            return
    try:
        shown = _ask(line, seconds)
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        report.add(_PORT, line.journal, f"{place} is taken, and not by this service ({error})")
        return
    report.facts["line port"] = f"{place}: the service is there"
    if shown is not None and line.certificate is not None:
        with contextlib.suppress(InputError):
            if shown != read_certificate(line.certificate):
                until = shown.not_valid_after_utc
                found = f"the service at {place} shows another, until {until:%Y-%m-%d}"
                report.add(_OLD, line.certificate, found)


def _ask(line: LineSection, seconds: float) -> x509.Certificate | None:
    """Ask for `/health` as this machine itself; returns the certificate that was shown."""
    host = _ALL.get(line.host, line.host)
    connection = http.client.HTTPConnection(host, line.port, timeout=seconds)
    if line.certificate is not None:
        # Nothing secret is sent: what is shown is compared by whoever called.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, line.port, timeout=seconds, context=context)
    with contextlib.closing(connection):
        connection.connect()
        shown = None
        if isinstance(connection.sock, ssl.SSLSocket):
            shown = x509.load_der_x509_certificate(connection.sock.getpeercert(True) or b"")
        name = "localhost" if shown is None else (names_of(shown) or ("localhost",))[0]
        name = f"[{name}]" if ":" in name else name
        connection.request("GET", "/health", headers={"Host": f"{name}:{line.port}"})
        answer = json.loads(connection.getresponse().read(1000))
    if answer["status"] not in ("ok", "ending"):
        raise ValueError(f"it says {answer['status']!r}")
    return shown
