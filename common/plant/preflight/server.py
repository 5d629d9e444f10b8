"""Preflight of the way to the server: the gateway is found, reached and the right one."""

from __future__ import annotations

import datetime as dt
import email.utils
import ipaddress
import ssl
from typing import Final

from cryptography import x509

from common.check.findings import Kind
from common.plant.keys.certificates import names_of, read_certificate
from common.plant.preflight.connection import (
    SECONDS,
    Line,
    Unreachable,
    resolve,
    trusting,
    unverified,
)
from common.plant.preflight.credentials import common_name, judge_dates
from common.plant.preflight.findings import Preflight
from common.plant.station.station_file import StationFile

CLOCK_SECONDS: Final = 240.0
"""The server refuses what was signed 300 s before or after its own time."""
RELAY_ADDRESS: Final = "127.0.0.1"
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
    "the server refuses a station whose clock is more than 300 s away from its own",
    "set this machine's clock, or the server's (NTP)",
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
        line = Line(addresses, host, trusting(file.ca), seconds)
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
        if RELAY_ADDRESS not in names:
            found = f"the certificate of {dialled} is for {', '.join(names)}; not {RELAY_ADDRESS}"
            report.add(_NO_RELAY_NAME, file.path, found)
        _ask_gateway(line, dialled, file, report)
    except Unreachable as error:
        report.add(_STEPS[error.step], file.path, f"{dialled}: {error}")
    except ssl.SSLCertVerificationError as error:
        # It was trusted a moment ago: several servers share the address, or one was replaced.
        report.add(_WRONG_CA, file.path, f"{dialled}: {error.verify_message}")


def _ask_gateway(line: Line, dialled: str, file: StationFile, report: Preflight) -> None:
    health = line.ask("GET", "/health")
    _judge_clock(health.headers.get("date"), dialled, file, report)
    control = line.ask("POST", _CONTROL_PATH)
    if control.status != 403:
        found = f"{dialled} answered {control.status} to a call of the control API, expected 403"
        report.add(_NOT_A_GATEWAY, file.path, found)
        return
    fleet = line.ask("POST", _FLEET_PATH)
    if fleet.status in (502, 503, 504):
        found = f"{dialled} answered {fleet.status}: {fleet.text.strip()[:200]}"
        report.add(_NO_SUPERLINK, file.path, found)
    elif fleet.status == 403 or fleet.status >= 500:
        found = f"{dialled} answered {fleet.status} to a call of the fleet API"
        report.add(_STEPS["http"], file.path, found)
    else:
        ours = health.status == 200 and health.text.strip() == "gateway"
        kind = "of fedpatchcore" if ours else "not of fedpatchcore, but another reverse proxy"
        report.facts["gateway"] = f"{kind}; the SuperLink behind it answers, the rest is refused"


def _judge_clock(date: str | None, dialled: str, file: StationFile, report: Preflight) -> None:
    """Compare this machine's clock with what the server says of its own, if it does."""
    if date is None:
        return
    try:
        theirs = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return
    if theirs.tzinfo is None:
        return
    ahead = (dt.datetime.now(dt.UTC) - theirs).total_seconds()
    if abs(ahead) > CLOCK_SECONDS:
        way = "ahead of" if ahead > 0 else "behind"
        found = f"this machine's clock is {abs(ahead):.0f} s {way} that of {dialled}"
        report.add(_CLOCK, file.path, found)


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
