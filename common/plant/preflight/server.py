"""Preflight of the way to the server: the gateway is found, reached and the right one."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from common.check.findings import Kind
from common.errors import InputError
from common.plant.gateway.nginx_http import STRANGER
from common.plant.keys.certificates import names_of, read_certificate
from common.plant.keys.station_keys import read_station_key, sent_key
from common.plant.preflight.connection import (
    INNER_NAME,
    SECONDS,
    Answer,
    Line,
    Unreachable,
    resolve,
    trusting,
    unverified,
)
from common.plant.preflight.credentials import common_name, judge_dates
from common.plant.preflight.findings import Preflight
from common.plant.preflight.registration import check_registration
from common.plant.station.station_file import StationFile

MOST_AHEAD: Final = 5.0
MOST_BEHIND: Final = 300.0
"""Seconds: the server refuses what was signed later or earlier than this by its own clock."""
CLOCK_ROOM: Final = 1.0
"""Seconds by which a clock must keep clear of both: what is seen of it is as exact as that."""
_CONTROL_PATH: Final = "/v1/control/preflight"
_FLEET_PATH: Final = "/v1/fleet/preflight"
"""Paths that no server has: what is asked there does nothing."""

_WRONG_CA: Final = Kind(
    "wrong-ca",
    "error",
    "the station cannot know that this is its own server, so it does not connect",
    "compare ca.crt with the one in the plant's key folder; if they are equal, the address is "
    "another plant's, or somebody stands between",
)
_WRONG_NAME: Final = Kind(
    "wrong-name",
    "error",
    "the certificate was made for another address, so the station does not connect",
    "dial one of its names in server.address, or make a certificate with this name: "
    "`fedpatchcore keys DIR --renew --gateway NAME`",
)
_NO_RELAY_NAME: Final = Kind(
    "no-relay-name",
    "error",
    "the SuperNode reaches the gateway through a relay on its own machine and wants this address "
    "on the certificate",
    "make the certificate with `fedpatchcore keys`, which always adds it",
)
_STEPS: Final = {
    "name": Kind(
        "name-not-resolved",
        "error",
        "the station cannot find its gateway",
        "mend server.address, or add the name to the DNS or to /etc/hosts",
    ),
    "refused": Kind(
        "connection-refused",
        "error",
        "that machine is there, but nothing listens on this port",
        "start the gateway there; look whether server.address has its port",
    ),
    "timeout": Kind(
        "no-answer",
        "error",
        "the machine is off, the address is wrong, or a firewall drops what is sent to it",
        "try the address from another machine; open the port in the firewall",
    ),
    "route": Kind(
        "no-route",
        "error",
        "this machine has no way to that address",
        "look after its network, then after server.address",
    ),
    "tls": Kind(
        "no-tls",
        "error",
        "the gateway speaks TLS only; something else listens there",
        "look whether server.address has the gateway's port",
    ),
    "certificate": Kind(
        "certificate-refused",
        "error",
        "the gateway lets in only who has a certificate of this plant's stations; this one it does "
        "not take, or its revocation list has expired",
        "the gateway's log says why; for a new certificate: `fedpatchcore keys DIR --renew "
        "--station NAME`, then copy station.pem",
    ),
    "http": Kind(
        "not-a-gateway",
        "error",
        "the certificate is the plant's, but what answers is no gateway",
        "look whether server.address has the gateway's port and not another server's",
    ),
}
_NOT_A_GATEWAY: Final = Kind(
    "not-a-gateway",
    "error",
    "a gateway refuses everything but the fleet API with 403; a station that reaches the SuperLink "
    "itself could submit runs",
    "give the gateway's address, and let stations reach nothing else",
)
_NO_SUPERLINK: Final = Kind(
    "superlink-down",
    "error",
    "the gateway is there, but it does not reach the SuperLink",
    "start the SuperLink, or look after the gateway's --superlink; the gateway's log says more",
)
_CLOCK: Final = Kind(
    "clock",
    "error",
    "the server refuses a station whose clock is more than 5 s ahead of its own or more than 300 s "
    "behind",
    "set this machine's clock, or the server's (NTP)",
)
_CLOCK_DRIFTS: Final = Kind(
    "clock-drifts",
    "warning",
    "the server refuses a station whose clock is more than 5 s ahead of its own or more than 300 s "
    "behind",
    "keep this machine's clock and the server's by NTP before they are that far apart",
)


def check_gateway(
    file: StationFile, report: Preflight, now: dt.datetime, seconds: float = SECONDS
) -> None:
    """The gateway: found, reached, the right one, and the SuperLink behind it.

    Parameters
    ----------
    file : StationFile
        Its authority must have passed `check_authority`.
    report : Preflight
    now : datetime with a time zone
        This machine's clock.
    seconds : float
        Longest wait of any one step.
    """
    host, port = file.address
    dialled = f"{host}:{port}"
    try:
        addresses = resolve(host, port, seconds)
        line = Line(addresses, host, _shown(file), seconds, trusting(file.ca))
        try:
            peer = line.peer()
        except ssl.SSLCertVerificationError as error:
            stranger = unverified(addresses, host, seconds).certificate
            _explain(error, stranger, file, report, now)
            return
        names = names_of(peer.certificate)
        until = peer.certificate.not_valid_after_utc
        report.facts["server"] = (
            f"{dialled} ({peer.address}), {peer.tls}, certificate for {', '.join(names)} "
            f"until {until:%Y-%m-%d}"
        )
        judge_dates(peer.certificate, file.path, f"the certificate of {dialled}", report, now)
        if INNER_NAME not in names:
            found = f"the certificate of {dialled} is for {', '.join(names)}; not {INNER_NAME}"
            report.add(_NO_RELAY_NAME, file.path, found)
            return  # nothing can be asked by that name
        _ask_gateway(line, dialled, file, report)
    except Unreachable as error:
        report.add(_STEPS[error.step], file.path, f"{dialled}: {error}")
    except ssl.SSLCertVerificationError as error:
        # It was trusted a moment ago: several servers share the address, or one was replaced.
        report.add(_WRONG_CA, file.path, f"{dialled}: {error.verify_message}")


def _ask_gateway(line: Line, dialled: str, file: StationFile, report: Preflight) -> None:
    health = line.ask("GET", "/health")
    control = line.ask("POST", _CONTROL_PATH)
    if control.status != 403:
        found = f"{dialled} answered {control.status} to a call of the control API, expected 403"
        report.add(_NOT_A_GATEWAY, file.path, found)
        return
    key = _flower_key(file)
    sent = {} if key is None else {"flwr-public-key": sent_key(key.public_key())}
    fleet = line.ask("POST", _FLEET_PATH, sent)
    _judge_clock(fleet, dialled, file, report)
    stranger = fleet.status == 403 and STRANGER in fleet.text  # the gateway's own word
    if fleet.status in (502, 503, 504):
        found = f"{dialled} answered {fleet.status}: {fleet.text.strip()[:200]}"
        report.add(_NO_SUPERLINK, file.path, found)
    elif fleet.status >= 500 or (fleet.status == 403 and not stranger):
        found = f"{dialled} answered {fleet.status} to a call of the fleet API"
        report.add(_STEPS["http"], file.path, found)
    else:
        ours = health.status == 200 and health.text.strip() == "gateway"
        kind = "of fedpatchcore" if ours else "not of fedpatchcore, but another reverse proxy"
        behind = "it" if stranger else "the SuperLink behind it"
        report.facts["gateway"] = f"{kind}; {behind} answers, the rest is refused"
        if key is not None:
            check_registration(line, dialled, key, file, report)


def _shown(file: StationFile) -> ssl.SSLContext:
    """Trust the authority and show the station's certificate, if there is one that can be."""
    try:
        return trusting(file.ca, file.certificate)
    except OSError:
        return trusting(file.ca)


def _flower_key(file: StationFile) -> ec.EllipticCurvePrivateKey | None:
    """The station's key; None if it cannot be used, which has been told of."""
    try:
        return read_station_key(file.key)
    except InputError:
        return None


def _judge_clock(answer: Answer, dialled: str, file: StationFile, report: Preflight) -> None:
    """Compare this machine's clock with what the server says of its own, if it does."""
    ahead = answer.ahead
    if ahead is None:
        return
    way = "ahead of" if ahead > 0 else "behind"
    found = f"this machine's clock is {abs(ahead):.0f} s {way} that of {dialled}"
    if ahead > MOST_AHEAD - CLOCK_ROOM or ahead < -(MOST_BEHIND - CLOCK_ROOM):
        report.add(_CLOCK, file.path, found)
    elif ahead > MOST_AHEAD / 2 or ahead < -MOST_BEHIND / 2:
        report.add(_CLOCK_DRIFTS, file.path, found)


def _explain(
    error: ssl.SSLCertVerificationError,
    certificate: x509.Certificate,
    file: StationFile,
    report: Preflight,
    now: dt.datetime,
) -> None:
    """Say what is wrong with a certificate that OpenSSL refused; its word is the last."""
    host, port = file.address
    before = len(report.findings)
    judge_dates(certificate, file.path, f"the certificate of {host}:{port}", report, now)
    names = names_of(certificate)
    if not any(_matches(name, host) for name in names):
        shown = ", ".join(names) or "no name at all"
        found = f"{host}:{port} has a certificate for {shown}; expected {host}"
        report.add(_WRONG_NAME, file.path, found)
    chain_is_sound = error.verify_code in _NOT_ABOUT_THE_CHAIN
    if len(report.findings) == before or not chain_is_sound:
        authority = read_certificate(file.ca)
        theirs, ours = common_name(certificate.issuer), common_name(authority.subject)
        found = (
            f"{host}:{port} has a certificate by {theirs!r}, {file.ca} is {ours!r} "
            f"({error.verify_message})"
        )
        report.add(_WRONG_CA, file.path, found)


_NOT_ABOUT_THE_CHAIN: Final = frozenset({9, 10, 62, 64})
"""OpenSSL's codes for: not yet valid, expired, another host name, another IP address."""


def _matches(name: str, host: str) -> bool:
    """Whether a certificate's name covers a host, for the explanation only."""
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    except ValueError:
        pass
    if name.startswith("*."):
        return name[2:].lower() == host.partition(".")[2].lower()
    return name.lower() == host.lower()
