"""Signed letters: any change breaks the seal, and no seal stands in for another."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from packing import sent

from common.protocol.letters import (
    SEAL,
    Letter,
    Sealed,
    SealError,
    open_answer,
    open_request,
    seal_answer,
    seal_request,
    settings_digest,
)
from common.protocol.messages import PROTOCOL, BankPart, Received
from common.protocol.records import FACTS, pack, to_record, to_request

pytestmark = pytest.mark.usefixtures("flower_task")

SERVER = Ed25519PrivateKey.generate()
STATION = ec.generate_private_key(ec.SECP384R1())
LETTER = Letter(
    run=2**64 - 1,
    station="press",
    kind="train.take_bank",
    round=2,
    part=1,
    settings="1" * 64,
    nonce="0123456789abcdef" * 2,
    until=2_000_000_000,
)
ROWS = {"bank/clip": np.arange(12, dtype=np.float16).reshape(4, 3)}


def request() -> tuple[RecordDict, Sealed]:
    content = to_request(BankPart(round=2, part=1, parts=3), 60.0, pack(ROWS))
    return content, seal_request(content, LETTER, SERVER)


def answer(to: Sealed) -> RecordDict:
    content = to_record(Received(station="press", part=1), ROWS)
    seal_answer(content, to, STATION)
    return content


def through_flower(content: RecordDict) -> RecordDict:
    return sent(Message(content, dst_node_id=3, message_type="train.take_bank")).content


def test_a_letter_is_opened_on_the_other_side_and_its_answer_on_this_one() -> None:
    content, sealed = request()
    came = through_flower(content)
    opened = open_request(came, SERVER.public_key())
    assert opened == sealed
    assert opened.letter == LETTER
    assert SEAL not in came  # what is left is the message as it was before
    back = through_flower(answer(opened))
    open_answer(back, sealed, STATION.public_key())
    assert SEAL not in back


FIELDS: dict[str, Any] = {
    "run": 7, "station": "mill", "kind": "train", "round": 1, "part": 0, "settings": "2" * 64,
    "nonce": "f" * 32, "until": 2_000_000_001,
}  # fmt: skip


@pytest.mark.parametrize("field", list(Letter.model_fields))
def test_no_field_of_a_letter_can_be_changed(field: str) -> None:
    content, _ = request()
    told = json.loads(str(content.config_records[SEAL]["letter"]))
    content.config_records[SEAL]["letter"] = json.dumps({**told, field: FIELDS[field]})
    with pytest.raises(SealError, match="not the one of this server's app key"):
        open_request(content, SERVER.public_key())


@pytest.mark.parametrize("field", list(Letter.model_fields))
def test_an_answer_to_another_letter_is_none(field: str) -> None:
    _, sealed = request()
    other = Sealed(LETTER.model_copy(update={field: FIELDS[field]}), sealed.digest)
    with pytest.raises(SealError, match="fits neither that key nor what was asked"):
        open_answer(answer(other), sealed, STATION.public_key())
    other = Sealed(LETTER, bytes(32))
    with pytest.raises(SealError, match="fits neither"):
        open_answer(answer(other), sealed, STATION.public_key())


def changes(content: RecordDict) -> list[RecordDict]:
    """One change each, of what a seal stands for."""
    made = [copy.deepcopy(content) for _ in range(6)]
    made[0].config_records[FACTS]["json"] = str(made[0].config_records[FACTS]["json"]) + " "
    made[1].config_records[FACTS]["more"] = 1
    made[2]["more"] = ConfigRecord()
    del made[3]["arrays"]
    made[4].array_records["arrays"]["bank/nut"] = made[4].array_records["arrays"].pop("bank/clip")
    array = made[5].array_records["arrays"]["bank/clip"]
    array.data = array.data[:-1] + bytes([array.data[-1] ^ 1])
    return made


def test_no_content_can_be_changed() -> None:
    content, sealed = request()
    for changed in changes(content):
        with pytest.raises(SealError, match="not the one of this server's app key"):
            open_request(changed, SERVER.public_key())
    for changed in changes(answer(sealed)):
        with pytest.raises(SealError, match="fits neither"):
            open_answer(changed, sealed, STATION.public_key())


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_byte_of_a_signature_can_be_changed(place: int, change: int) -> None:
    content, sealed = request()
    reply = answer(sealed)
    for record in (content.config_records[SEAL], reply.config_records[SEAL]):
        signature = bytearray(record["signature"])  # type: ignore[arg-type]
        signature[place % len(signature)] ^= change
        record["signature"] = bytes(signature)
    with pytest.raises(SealError):
        open_request(content, SERVER.public_key())
    with pytest.raises(SealError):
        open_answer(reply, sealed, STATION.public_key())


def test_another_key_is_not_taken() -> None:
    content, sealed = request()
    with pytest.raises(SealError, match="not the one of this server's app key"):
        open_request(content, Ed25519PrivateKey.generate().public_key())
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(SealError, match="fits neither that key"):
        open_answer(answer(sealed), sealed, other.public_key())


def test_a_request_is_no_answer_and_an_answer_no_request() -> None:
    content, sealed = request()
    with pytest.raises(SealError, match="its seal is not whole"):
        open_answer(content, sealed, STATION.public_key())
    with pytest.raises(SealError, match=rf"of protocol 'None', this side speaks {PROTOCOL}"):
        open_request(answer(sealed), SERVER.public_key())


@pytest.mark.parametrize(
    ("seal", "says"),
    [
        (None, "it carries no signature"),
        (
            {"protocol": 3, "letter": "{}", "signature": b""},
            f"of protocol '3', this side speaks {PROTOCOL}",
        ),
        ({"protocol": PROTOCOL, "letter": "{}"}, "its seal is not whole"),
        ({"protocol": PROTOCOL, "letter": b"{}", "signature": b""}, "its seal is not whole"),
        ({"protocol": PROTOCOL, "letter": "{}", "signature": "x"}, "its seal is not whole"),
        (
            {"protocol": PROTOCOL, "letter": "{}", "signature": b"", "more": 1},
            "its seal is not whole",
        ),
        ({"protocol": PROTOCOL, "letter": "{}", "signature": b""}, "its seal cannot be read"),
        ({"protocol": PROTOCOL, "letter": "[" * 999, "signature": b""}, "cannot be read"),
        ({"protocol": PROTOCOL, "letter": "[" * 1001, "signature": b""}, "1001 characters long"),
    ],
)
def test_a_seal_that_is_none_is_refused_in_one_line(seal: Any, says: str) -> None:
    content, _ = request()
    content.pop(SEAL)
    if seal is not None:
        content[SEAL] = ConfigRecord(seal)
    with pytest.raises(SealError) as error:
        open_request(content, SERVER.public_key())
    assert says in str(error.value)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


def test_what_a_station_signs_for_flower_is_no_answer() -> None:
    """Its key signs the time of every call as well: no such signature fits a letter."""
    _, sealed = request()
    content = to_record(Received(station="press", part=1), ROWS)
    for text in (b"2026-11-30T12:00:00.000000+00:00", b""):
        signature = STATION.sign(text, ec.ECDSA(hashes.SHA256()))
        content[SEAL] = ConfigRecord({"signature": signature})
        with pytest.raises(SealError, match="fits neither"):
            open_answer(content, sealed, STATION.public_key())


def test_settings_are_alike_only_if_every_one_of_them_is() -> None:
    run = {"seed": 42, "ratio": 0.5, "rounds": 2, "shared": True, "name": "x"}
    same = settings_digest(dict(reversed(run.items())) | {"rounds": 2.0})
    assert settings_digest(run) == same
    for change in ({"seed": 43}, {"shared": False}, {"name": "2"}, {"more": 1}, {"rounds": "2"}):
        assert settings_digest({**run, **change}) != same
    assert settings_digest({"a": True}) != settings_digest({"a": 1})
