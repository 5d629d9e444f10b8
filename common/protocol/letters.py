"""Signed letters: every request is the server's and every answer the station's, or it is not taken.

What is signed, each with a prefix that tells requests and answers apart:

=================  ==========================  ==========================
signed             in a request                in an answer
=================  ==========================  ==========================
by                 the server's app key,       the station's own key,
                   Ed25519 (`app.key`)         ECDSA P-384 (`station.key`)
run, station,      whom it is for              of the request
kind, round, part
settings           of the run                  of the request
nonce, until       made for this request       of the request
digest             of its own content          of the request's content,
                                               then of its own
=================  ==========================  ==========================

`kind` is Flower's type of the message, as `train.take_bank`; round and part are 0 where there are
none; `settings` is the digest of the run's settings, which Flower hands to a station beside the
message; `until` is the second (Unix time) after which nobody obeys it. A request brings all these
along, so that a station can say what is wrong with one; an answer brings its signature alone, as
the server remembers what it has asked. The content is all records of the message but the seal, see
`digest`. Neither the gateway nor the SuperLink needs a key for any of this, and none has one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flwr.app import ConfigRecord, RecordDict
from pydantic import Field, StringConstraints, ValidationError

from common.config import LONGEST_ROUND_SECONDS
from common.protocol.digest import content_digest
from common.protocol.messages import PROTOCOL, Facts, Part, StationName, explain

SEAL: Final = "seal"
"""The record of a message that holds its signature."""
GRACE_SECONDS: Final = 60.0
"""A request is good for so much longer than its answer is waited for."""
LONGEST_LIFE: Final = LONGEST_ROUND_SECONDS + int(GRACE_SECONDS) + 1
"""Seconds for which the longest request is good; 1 for a whole second."""
_PREFIX: Final = "fedpatchcore letter 1"
_LONGEST_LETTER: Final = 1000
_ANSWERS: Final = ec.ECDSA(hashes.SHA384())


class SealError(Exception):
    """A seal that is not there, not whole, or not what it should be; the text says which."""


class Letter(Facts):
    """What a request says of itself beside its content: to whom, for what, until when."""

    run: Annotated[int, Field(ge=0, lt=2**64)]
    station: StationName
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z_.]{1,60}$")]
    round: Annotated[int, Field(ge=0, le=1000)]
    part: Part
    settings: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    until: Annotated[int, Field(ge=0, lt=2**53)]


def settings_digest(run_config: Mapping[str, str | int | float | bool]) -> str:
    """Digest of a run's settings; a whole number is the same with a point and without.

    Parameters
    ----------
    run_config : mapping
        Flower's, of the ServerApp or of a ClientApp.
    """
    values = {
        key: value if isinstance(value, str | bool) else float(value)
        for key, value in run_config.items()
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Sealed:
    """A request as its answer must refer to it."""

    letter: Letter
    digest: bytes


def seal_request(
    content: RecordDict,
    letter: Letter,
    key: Ed25519PrivateKey,
    known: dict[int, bytes] | None = None,
) -> Sealed:
    """Sign a request with the server's app key; the seal is put into its content.

    Parameters
    ----------
    content : RecordDict
        Whole, without a seal.
    letter : Letter
    key : Ed25519PrivateKey
    known : dict, optional
        See `content_digest`.
    """
    sealed = Sealed(letter, content_digest(content, known))
    content[SEAL] = ConfigRecord(
        {
            "protocol": PROTOCOL,
            "letter": letter.model_dump_json(),
            "signature": key.sign(_statement("request", sealed)),
        }
    )
    return sealed


def open_request(content: RecordDict, key: Ed25519PublicKey) -> Sealed:
    """Make sure that the server wrote a request; its seal is taken out of the content.

    Whom it is for, and whether it was obeyed before, is for the caller to look at.

    Raises
    ------
    SealError
        If it is not signed by this key, or anything in it was changed.
    """
    record = content.pop(SEAL, None)
    if not isinstance(record, ConfigRecord):
        raise SealError("it carries no signature")
    protocol, told, signature = (record.get(name) for name in ("protocol", "letter", "signature"))
    if protocol != PROTOCOL:
        raise SealError(
            f"its seal is of protocol {str(protocol)[:20]!r}, this side speaks {PROTOCOL}; server "
            "and station must run the same version"
        )
    if not isinstance(told, str) or not isinstance(signature, bytes) or len(record) != 3:
        raise SealError("its seal is not whole")
    if len(told) > _LONGEST_LETTER:
        raise SealError(f"its seal is {len(told)} characters long, {_LONGEST_LETTER} are read")
    try:
        letter = Letter.model_validate_json(told)
    except ValidationError as error:
        raise SealError(f"its seal cannot be read ({explain(error)})") from error
    sealed = Sealed(letter, _digest_of(content))
    try:
        key.verify(signature, _statement("request", sealed))
    except InvalidSignature:
        raise SealError("its signature is not the one of this server's app key") from None
    return sealed


def seal_answer(content: RecordDict, request: Sealed, key: ec.EllipticCurvePrivateKey) -> None:
    """Sign an answer with the station's own key; the seal is put into its content."""
    statement = _statement("answer", request, content_digest(content))
    content[SEAL] = ConfigRecord({"signature": key.sign(statement, _ANSWERS)})


def open_answer(content: RecordDict, request: Sealed, key: ec.EllipticCurvePublicKey) -> None:
    """Make sure that a station gave this answer to this request; its seal is taken out.

    Raises
    ------
    SealError
        If it is not signed by this key, answers another request, or anything in it was changed.
    """
    record = content.pop(SEAL, None)
    if not isinstance(record, ConfigRecord):
        raise SealError("it carries no signature")
    signature = record.get("signature")
    if not isinstance(signature, bytes) or len(record) != 1:
        raise SealError("its seal is not whole")
    try:
        key.verify(signature, _statement("answer", request, _digest_of(content)), _ANSWERS)
    except InvalidSignature:
        raise SealError("its signature fits neither that key nor what was asked") from None


def _digest_of(content: RecordDict) -> bytes:
    """Digest of what came over the network, where any record may stand."""
    try:
        return content_digest(content)
    except TypeError as error:
        raise SealError(f"it holds {error}, which nobody sends") from error


def _statement(side: str, request: Sealed, *more: bytes) -> bytes:
    """Write the text that is signed: a JSON list of texts and numbers, each of its own kind."""
    letter = request.letter
    parts = [_PREFIX, side, letter.run, letter.station, letter.kind, letter.round, letter.part]
    parts += [
        letter.settings,
        letter.nonce,
        letter.until,
        request.digest.hex(),
        *(digest.hex() for digest in more),
    ]
    return json.dumps(parts).encode()
