"""A real station obeys its plant's server alone: asked as Flower asks, by all kinds of others."""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, RecordDict
from letter_cases import PlantKeys
from machine_cases import fill, mounted
from packing import sent

from client_app.app import app
from common.config import Settings
from common.plant.keys.station_keys import read_public_key
from common.protocol.letters import SEAL, SealError, open_answer, settings_digest
from common.protocol.messages import SurveyReply, SurveyRequest
from common.protocol.records import StationFailure, read_facts, to_request

pytestmark = pytest.mark.usefixtures("flower_task")

OPENING = "refused-letter: did not obey a request: "

_runs = itertools.count(900_000)


class Station:
    """One that is asked whatever anybody likes."""

    def __init__(self, keys: PlantKeys, data: Path, cache: Path) -> None:
        self.keys, self.run = keys, next(_runs)
        settings = Settings(backbone="resnet18", weights="random", num_workers=1, device="cpu")
        self.settings = settings.to_run_config()
        self.node: dict[str, Any] = {
            "station": "press",
            "data-root": str(data),
            "cache-dir": str(cache),
            **keys.node_config("press"),
        }

    def send(self, content: RecordDict, kind: str = "query", run: int | None = None) -> RecordDict:
        context = Context(run or self.run, 3, dict(self.node), RecordDict(), dict(self.settings))
        return sent(app(sent(Message(content, dst_node_id=3, message_type=kind)), context)).content

    def seal(self, content: RecordDict, **changes: Any) -> Any:
        letter = {"station": "press", "run": self.run, "kind": "query"}
        letter |= {"settings": settings_digest(self.settings), **changes}
        return self.keys.seal(content, **letter)

    def refusal(self, content: RecordDict, kind: str = "query", run: int | None = None) -> str:
        """What it answers if it did nothing at all."""
        told = self.send(content, kind, run)
        assert SEAL not in told
        with pytest.raises(StationFailure) as error:
            read_facts(told, SurveyReply)
        assert not (Path(self.node["cache-dir"]) / "runs").exists()
        return str(error.value)


@pytest.fixture
def station(tmp_path: Path, tiny_data: Path) -> Station:
    return Station(PlantKeys.make(tmp_path / "keys"), tiny_data, tmp_path / "cache")


def survey() -> RecordDict:
    return to_request(SurveyRequest(), 600.0)


def test_a_letter_of_the_server_is_obeyed_and_the_answer_signed(station: Station) -> None:
    content = survey()
    sealed = station.seal(content)
    told = station.send(content)
    open_answer(told, sealed, read_public_key(station.keys.stations / "press.pub"))
    assert read_facts(told, SurveyReply).station == "press"


def test_nobody_elses_letter_is_obeyed_and_the_log_says_why(
    station: Station, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare, foreign, mill, other_run = survey(), survey(), survey(), survey()
    PlantKeys.make(tmp_path / "others").seal(foreign, "press", station.run, "query")
    station.seal(mill, station="mill")
    station.seal(other_run, run=station.run - 1)
    with caplog.at_level(logging.ERROR, "flwr"):
        for content, why in (
            (bare, "it carries no signature"),
            (foreign, "its signature is not the one of this server's app key"),
            (mill, "registered as 'mill', and this one calls itself 'press'"),
            (other_run, f"it is of run {station.run - 1}, and came in run {station.run}"),
        ):
            told = station.refusal(content)
            assert told.startswith(OPENING)
            assert why in told
            said = f"refused a request, nothing was done: {told.removeprefix(OPENING)}"
            assert said in caplog.text


def test_what_was_asked_for_comes_as_what_it_is(station: Station) -> None:
    content = survey()
    station.seal(content, kind="train.take_bank")
    told = station.refusal(content, "query")
    assert "it asks for 'train.take_bank', and came as 'query'" in told


def test_settings_that_somebody_else_gave_the_run_are_not_taken(station: Station) -> None:
    content = survey()
    station.seal(content)
    station.settings["image-size"] = 16
    told = station.refusal(content)
    assert "the settings that came beside it are not those of the server's run" in told


def test_a_letter_is_obeyed_once_in_this_run_and_in_no_later_one(station: Station) -> None:
    content = survey()
    station.seal(content)
    again, later, as_it_was = (sent(Message(content, 3, "query")).content for _ in range(3))
    read_facts(_without_seal(station.send(content)), SurveyReply)
    assert "it was obeyed before" in _told(station.send(again))
    assert f"it is of run {station.run}" in _told(station.send(later, run=station.run + 1))
    # Nor when the SuperNode is started again, and nothing but the disk is left.
    assert "it was obeyed before" in _told(station.send(as_it_was))


def test_an_old_letter_is_refused(station: Station) -> None:
    content = survey()
    station.seal(content, until=int(time.time()) - 5)
    told = station.refusal(content)
    assert "its time was over" in told
    assert "the clocks of server and station differ" in told


@pytest.mark.parametrize("key", ["app-key", "station-key"])
def test_a_real_station_without_a_key_obeys_nobody(station: Station, key: str) -> None:
    """What `plant station` starts always has both: so nobody drops the check by accident."""
    del station.node[key]
    for content in (survey(), survey()):
        told = station.refusal(content)
        assert f"station press is a real one and was started without its {key}" in told
        assert "in its station.toml" in told
    content = survey()
    station.seal(content)
    assert "so it obeys nobody" in station.refusal(content)


@pytest.mark.parametrize("key", ["app-key", "station-key"])
def test_a_key_that_cannot_be_read_is_named_in_the_log_alone(
    station: Station, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(station.node["data-root"]) / "nothing"
    station.node[key] = str(path)
    content = survey()
    station.seal(content)
    with caplog.at_level(logging.ERROR, "flwr"):
        told = station.refusal(content)
    assert told.startswith("unusable-input: the station's own log names the file")
    assert "/" not in told
    assert f"{path}: cannot be read" in caplog.text


def test_a_station_whose_disk_is_full_obeys_nothing(station: Station, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k", "nr_inodes=40") as disk:
        station.node["cache-dir"] = str(disk)
        fill(disk)
        content = survey()
        station.seal(content)
        assert station.refusal(content).startswith("no-space: no space is left on the disk")


def test_a_simulation_has_no_letters(station: Station) -> None:
    station.node = {"partition-id": 0, "num-partitions": 1}
    told = station.send(survey())
    assert SEAL not in told
    assert read_facts(told, SurveyReply).real is False


def _without_seal(content: RecordDict) -> RecordDict:
    content.pop(SEAL)
    return content


def _told(content: RecordDict) -> str:
    assert SEAL not in content
    with pytest.raises(StationFailure) as error:
        read_facts(content, SurveyReply)
    return str(error.value)


def test_an_answer_signed_by_another_station_is_not_its_own(station: Station) -> None:
    station.node |= {"station-key": str(station.keys.station("mill"))}
    station.keys.station("press")
    content = survey()
    sealed = station.seal(content)
    told = station.send(content)
    with pytest.raises(SealError, match="fits neither that key"):
        open_answer(told, sealed, read_public_key(station.keys.stations / "press.pub"))
