"""Whether the server knows a station's key, asked so that the answer changes nothing.

Flower's fleet API has no such question. What comes nearest is the call that makes a SuperNode
known as online, with a heartbeat interval that is out of bounds: flwr 1.41 looks at the clock and
the signature first, then whether the key is registered, then at the interval, and refuses.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.check.findings import Kind
from common.hooks.lookup import find
from common.hooks.table import ACTIVATE
from common.plant.preflight.connection import Answer, Line
from common.plant.preflight.findings import Preflight
from common.plant.station.station_file import StationFile

_PATH: Final = "/v1/fleet/activate-node"
_NO_INTERVAL: Final = 0.0
_WRONG_INTERVAL, _UNKNOWN_KEY = 2003, 2004
"""Flower's codes; tested against a real SuperLink."""

_NOT_REGISTERED: Final = Kind(
    "not-registered",
    "error",
    "the server lets in only stations whose keys it knows; the SuperNode would end at once",
    "on the server, with this station's .pub in keys/server/stations: `fedpatchcore plant "
    "register`; a key that was removed is never taken again: `fedpatchcore keys DIR --station "
    "NAME` makes a new one",
)
_NOT_BOUND: Final = Kind(
    "key-of-another",
    "error",
    "the gateway lets a station's key through with that station's certificate alone",
    "copy station.key and station.pem from the same folder, stations/NAME; if they are, copy "
    "stations/NAME.pub to the gateway's key folder",
)
_REFUSED: Final = Kind(
    "key-refused",
    "error",
    "the server does not believe what this station signs; its SuperNode would end at once",
    "set this machine's clock (NTP): at most 5 s ahead of the server's, at most 300 s behind",
)
_NO_ANSWER: Final = Kind(
    "registration-unknown",
    "warning",
    "whether the server knows this station shows only when it starts",
    "start it and read its log; if the server runs another version of Flower, update the older one",
)


def check_registration(
    line: Line,
    dialled: str,
    key: ec.EllipticCurvePrivateKey,
    file: StationFile,
    report: Preflight,
    now: dt.datetime | None = None,
) -> Answer | None:
    """Ask the server whether it knows a station's key; nothing is changed there.

    Parameters
    ----------
    line : Line
        To the gateway.
    dialled : str
        The gateway's HOST:PORT, for people.
    key : private key
        The station's.
    file : StationFile
    report : Preflight
    now : datetime, optional
        This machine's clock, with a time zone.

    Returns
    -------
    Answer or None
        The server's; None if this version of Flower has no such question.

    Raises
    ------
    Unreachable, ssl.SSLCertVerificationError
        As `Line.ask`.
    """
    request = find(ACTIVATE)
    if request is None:
        report.add(_NO_ANSWER, file.path, "another version of Flower than the one tested with")
        return None
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = (now or dt.datetime.now(dt.UTC)).isoformat()
    headers = {
        "Content-Type": "application/protobuf",
        "flwr-public-key": base64.b64encode(public).decode(),
        "flwr-timestamp": signed,
        "flwr-signature": base64.b64encode(
            key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        ).decode(),
    }
    asked = request(public_key=public, heartbeat_interval=_NO_INTERVAL)
    answer = line.ask("POST", _PATH, headers, asked.SerializeToString())
    code = _code(answer)
    if code == _WRONG_INTERVAL:
        report.facts["registered"] = "the server knows this station's key"
    elif code == _UNKNOWN_KEY:
        report.add(_NOT_REGISTERED, file.key, f"{dialled}: the server does not know this key")
    elif answer.status == 401:
        report.add(_REFUSED, file.key, f"{dialled}: the server refused what this key signed (401)")
    elif answer.status == 403:
        found = f"{dialled}: the gateway refused this key with {file.certificate.name} (403)"
        report.add(_NOT_BOUND, file.key, found)
    else:
        found = f"{dialled} answered {answer.status} ({answer.text.strip()[:200]})"
        report.add(_NO_ANSWER, file.key, found)
    return answer


def _code(answer: Answer) -> int | None:
    """Flower's own code in an answer; None if there is none."""
    try:
        told = json.loads(answer.text)
    except ValueError:
        return None
    code = told.get("code") if isinstance(told, dict) else None
    return code if isinstance(code, int) else None
