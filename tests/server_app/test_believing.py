"""The server believes what the station asked has signed, and nothing that others say for it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from letter_cases import NO_SETTINGS, PlantKeys
from packing import sent
from server_cases import roster, survey

from common.errors import InputError
from common.plant.keys.app_keys import read_app_public
from common.plant.keys.station_keys import read_station_key
from common.protocol.letters import SEAL, Sealed, open_request, seal_answer
from common.protocol.messages import BankPart, Received
from common.protocol.records import failure_record, to_record
from server_app.careful_grid import NOT_TAKEN_CODE, OwnError
from server_app.letters import Letters, read_letters
from server_app.post import Answered, Post, Request
from server_app.registry import read_registry

pytestmark = pytest.mark.usefixtures("flower_task")

ROWS = {"clip": np.arange(12, dtype=np.float16).reshape(4, 3)}
FORGED = "its answer is not signed by the key registered for mill ("


class Plant:
    """A server that asks two stations, and the hands of both."""

    def __init__(self, folder: Path) -> None:
        self.keys = PlantKeys.make(folder / "keys")
        for name in ("mill", "press"):
            self.keys.station(name)
        asked = roster(survey("mill"), survey("press"))
        self.mill, self.press = (p for _, p in sorted(asked.by_node.items(), reverse=True))
        for participant in (self.mill, self.press):
            participant.registered = participant.survey and participant.survey.station
        self.post = Post(asked, 5.0)
        self.post.letters = Letters(
            7, NO_SETTINGS, self.keys.app_key, read_registry(self.keys.stations)
        )

    def ask(self, part: int = 1) -> list[tuple[Message, Sealed]]:
        """What arrives at mill and press, in that order, opened by each."""
        requests = [
            Request(to, BankPart(round=2, part=part, parts=3), ROWS, part)
            for to in (self.mill, self.press)
        ]
        messages = self.post.messages("train.take_bank", requests)
        public = read_app_public(self.keys.folder / "app.pub")
        found = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = message.object_id
            found.append((message, open_request(sent(message).content, public)))
        return found

    def answer(self, message: Message, sealed: Sealed, name: str, **facts: Any) -> Message:
        told = {"station": sealed.letter.station, "part": 1, **facts}
        content = to_record(Received(**told), {"bank/x": ROWS["clip"]})
        seal_answer(content, sealed, read_station_key(self.keys.station(name)))
        return Message(content, reply_to=message)

    def receive(self, *replies: Message) -> list[Answered]:
        return self.post.receive([back(reply) for reply in replies])


def back(reply: Message) -> Message:
    """As it comes out of the network."""
    if reply.has_error():
        return reply
    came = sent(reply)
    came.metadata.__dict__["_message_id"] = reply.object_id
    return came


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def test_each_letter_says_to_whom_it_is_and_for_what(plant: Plant) -> None:
    (_, mill), (_, press) = plant.ask()
    for sealed, name in ((mill, "mill"), (press, "press")):
        letter = sealed.letter
        assert (letter.run, letter.station, letter.kind) == (7, name, "train.take_bank")
        assert (letter.round, letter.part) == (2, 1)
    assert mill.letter.nonce != press.letter.nonce
    assert mill.digest == press.digest  # the same bank


def test_what_the_station_asked_has_signed_is_believed(plant: Plant) -> None:
    (first, mill), (second, press) = plant.ask()
    answers = plant.receive(plant.answer(first, mill, "mill"), plant.answer(second, press, "press"))
    assert [answer.sender.name for answer in answers] == ["mill", "press"]
    for answer in answers:
        facts = plant.post.read(answer, Received)
        assert facts is not None
        assert facts.station == answer.sender.name
        assert SEAL not in answer.content


def spoilt(plant: Plant, how: str) -> list[Message]:
    """Replies as somebody between station and server would like to have them."""
    (first, mill), (second, press) = plant.ask()
    honest = plant.answer(first, mill, "mill")
    other = plant.answer(second, press, "press")
    content = copy.deepcopy(honest.content)
    if how == "made up":
        content.pop(SEAL)
    elif how == "signed by another station":
        content = plant.answer(first, mill, "press").content
    elif how == "the other station's answer":
        content = copy.deepcopy(other.content)
    elif how == "an answer to an earlier request":
        plant.post.receive([])
        plant.mill.come_back(), plant.press.come_back()
        (first, _), (second, press) = plant.ask(part=2)
        other = plant.answer(second, press, "press")
    elif how == "another text":
        content.config_records["facts"]["json"] = '{"station": "mill", "part": 2}'
    elif how == "another byte":
        array = content.array_records["arrays"]["bank/x"]
        array.data = array.data[:-1] + b"\x7f"
    elif how == "another shape":
        content.array_records["arrays"]["bank/x"].shape = (3, 4)
    elif how == "a record more":
        content["more"] = ConfigRecord({"a": 1})
    elif how == "without its arrays":
        del content["arrays"]
    elif how == "a failure made of it":
        content["failure"] = failure_record("no-images", "none").config_records["failure"]
    elif how == "another failure":
        content = failure_record("no-images", "none")
        seal_answer(content, mill, read_station_key(plant.keys.station("press")))
    return [Message(content, reply_to=first), other]


@pytest.mark.parametrize(
    "how",
    [
        "made up",
        "signed by another station",
        "the other station's answer",
        "an answer to an earlier request",
        "another text",
        "another byte",
        "another shape",
        "a record more",
        "without its arrays",
        "a failure made of it",
        "another failure",
    ],
)
def test_what_was_made_or_changed_on_the_way_is_refused_by_name(plant: Plant, how: str) -> None:
    answers = plant.receive(*spoilt(plant, how))
    assert [answer.sender.name for answer in answers] == ["press"]
    assert plant.mill.status == "refused"
    assert (plant.mill.reason or "").startswith(FORGED)
    assert "so nothing in it is believed" in (plant.mill.reason or "")
    assert plant.press.status == "used"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Error(code=5, reason="Node Unavailable"), "its SuperNode went away"),
        (failure_record("refused-letter", "did not obey a request"), "did not obey a request"),
    ],
)
def test_an_unsigned_error_can_only_put_a_station_out(
    plant: Plant, reply: Error | RecordDict, says: str
) -> None:
    (first, _), (second, press) = plant.ask()
    error = Message(reply, reply_to=first)
    answers = plant.receive(error, plant.answer(second, press, "press"))
    assert [answer.sender.name for answer in answers] == ["press"]
    assert plant.mill.status == "failed"
    assert says in (plant.mill.reason or "")
    if isinstance(reply, RecordDict):
        assert "without a signature: anybody on the way can say so" in (plant.mill.reason or "")


WITHOUT = "(without a signature: anybody on the way can say so)"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Error(7, "the app 12 is not one that this station allows"), "the app 12 is not one"),
        (Error(8, "ClientApp stopped responding."), "its program ended without an answer"),
        (Error(1, "when attempting to load"), "its program could not be loaded"),
        (
            Error(2, "<'[Errno 28] No space left'>"),
            "its program raised an error: its disk was full",
        ),
        # In the station's name: what the SuperLink says it says in its own.
        (Error(5, "Node Unavailable"), "its SuperNode went away (Flower error 5"),
        # What only the server itself can know.
        (Error(NOT_TAKEN_CODE, ""), "its program or SuperNode failed (Flower error 100"),
    ],
    ids=lambda value: str(value.code) if isinstance(value, Error) else "",
)
def test_an_error_of_flowers_says_that_nobody_signed_it(
    plant: Plant, error: Error, says: str
) -> None:
    (first, _), _ = plant.ask()
    plant.receive(Message(error, reply_to=first))
    assert (plant.mill.reason or "").startswith(says)
    assert (plant.mill.reason or "").endswith(f" {WITHOUT}")


@pytest.mark.parametrize("code", [3, 4, 5])
def test_no_more_than_no_answer_needs_no_signature(plant: Plant, code: int) -> None:
    (first, _), _ = plant.ask()
    gone = Message(Error(code, "gone"), reply_to=first)
    gone.metadata.__dict__["_src_node_id"] = 1  # the SuperLink's own
    plant.receive(gone)
    assert plant.mill.status == "failed"
    assert WITHOUT not in (plant.mill.reason or "")
    assert plant.press.reason == "no answer within 5 s"


@pytest.mark.parametrize("code", [0, NOT_TAKEN_CODE])
def test_what_the_server_found_itself_needs_no_signature(plant: Plant, code: int) -> None:
    (first, _), _ = plant.ask()
    plant.receive(Message(OwnError(code, "cannot be unpacked"), reply_to=first))
    assert plant.mill.status == "failed"
    assert WITHOUT not in (plant.mill.reason or "")


def test_an_unsigned_error_names_no_path_and_is_short(plant: Plant) -> None:
    (first, _), _ = plant.ask()
    content = failure_record("no-images", "look at /plant/line/1.png " + "x" * 5000)
    plant.receive(Message(content, reply_to=first))
    assert "/plant" not in (plant.mill.reason or "")
    assert len(plant.mill.reason or "") <= 2000


def test_a_stations_own_signed_failure_is_its_own(plant: Plant) -> None:
    (first, mill), _ = plant.ask()
    content = failure_record("no-images", "there is none")
    seal_answer(content, mill, read_station_key(plant.keys.station("mill")))
    (answer,) = plant.receive(Message(content, reply_to=first))
    assert plant.post.read(answer, Received) is None
    assert (plant.mill.status, plant.mill.reason) == ("failed", "no-images: there is none")


def test_who_is_no_participant_any_more_stays_out(plant: Plant) -> None:
    """The first reason stands, whatever comes later."""
    (first, mill), _ = plant.ask()
    plant.mill.leave("missing", "no answer within 5 s")
    assert plant.receive(plant.answer(first, mill, "press")) == []
    assert plant.mill.status == "missing"


# ------------------------------------------------------------------------------- the server's keys


@pytest.fixture
def variables(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = {
        "FEDPATCHCORE_APP_KEY": str(plant.keys.folder / "app.key"),
        "FEDPATCHCORE_STATIONS": str(plant.keys.stations),
    }
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def test_the_keys_are_those_that_the_environment_names(variables: dict[str, str]) -> None:
    letters = read_letters(read_registry(), 7, {})
    assert letters is not None
    assert set(letters.registry.keys) == {"mill", "press"}


@pytest.mark.parametrize("missing", ["FEDPATCHCORE_APP_KEY", "FEDPATCHCORE_STATIONS"])
def test_one_without_the_other_starts_no_run(
    variables: dict[str, str], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(InputError, match=f"{missing}: is not set.*fedpatchcore plant executor"):
        read_letters(read_registry(), 7, {})


def test_with_neither_nothing_is_signed(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables:
        monkeypatch.delenv(name)
    assert read_letters(read_registry(), 7, {}) is None


def test_an_unusable_app_key_is_named(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_APP_KEY", str(Path(variables["FEDPATCHCORE_STATIONS"])))
    with pytest.raises(InputError, match="stations: cannot be read"):
        read_letters(read_registry(), 7, {})
