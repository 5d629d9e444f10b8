"""Stations that come late or come back: surveyed, admitted by the same rules, and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from local_grid import Finished, LocalGrid, Online, run_local, simulated_nodes, small_settings
from tampering import ODD

from common.protocol.messages import SurveyReply
from common.protocol.records import read_facts, to_record

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")


@pytest.fixture
def settings(parts: Path, tmp_path: Path, plain_files: None) -> Any:
    def make(**changes: Any) -> Any:
        chosen = {"num_stations": 3, "global_bank_size": 40, "min_stations": 2, **changes}
        return small_settings(parts, tmp_path / "run", **chosen)

    return make


def first_online_after(kind: str, times: int = 1) -> Online:
    """`ODD` appears when the others have been asked for something so many times."""

    def online(grid: LocalGrid, node: int) -> bool:
        return node != ODD or grid.kinds.count(kind) >= times

    return online


def away_between(first: int, last: int) -> Online:
    """`ODD` is away from the n-th build request on, and back after another one."""

    def online(grid: LocalGrid, node: int) -> bool:
        return node != ODD or not first <= grid.kinds.count("train") < last

    return online


def images_tested(done: Finished) -> int:
    return sum(told["counts"]["images"] for told in done.metrics.values())


def test_a_late_stations_rows_are_in_the_bank_and_its_test_images_are_counted(
    settings: Any,
) -> None:
    done = run_local(
        settings(num_server_rounds=2, partition="category"), online=first_online_after("train", 2)
    )
    assert done.error is None
    names = sorted(done.stations)
    (late,) = [n for n in names if done.stations[n]["joined_round"] == 2]
    assert {s["status"] for s in done.stations.values()} == {"used"}
    assert [done.stations[n]["joined_round"] for n in names if n != late] == [1, 1]
    assert f"{late} joined in round 2" in done.run["notices"]
    assert done.run["summary"] == "used 3 of 3"
    assert done.contributions[late]["rows_chosen"] > 0
    assert done.contributions[late]["budget"] > 0
    assert images_tested(done) == 14  # those of all three stations
    assert done.model["provenance"]["stations"][late] == done.contributions[late]["rows_chosen"]
    # Round 1 went to two stations, the bank and round 2 to three.
    assert done.grid is not None
    assert done.grid.kinds.count("train") == 2 + 3
    assert done.grid.kinds.count("train.take_bank") == 3
    assert done.grid.kinds.count("query") == 2 + 1


def test_a_station_that_comes_after_the_last_round_is_not_asked(settings: Any) -> None:
    done = run_local(settings(num_server_rounds=1), online=first_online_after("train", 2))
    assert done.error is None
    assert len(done.stations) == 2


def test_a_station_that_was_away_for_a_round_comes_back_with_its_rows(settings: Any) -> None:
    # Away for the delivery of the first bank (the 4th build request would be its second).
    done = run_local(settings(num_server_rounds=3), online=away_between(3, 5))
    assert done.error is None
    odd = done.stations["station-1"]
    assert (odd["status"], odd["reason"], odd["joined_round"]) == ("used", None, 1)
    assert "station-1 came back in round 3" in done.run["notices"]
    assert done.run["summary"] == "used 3 of 3"
    assert images_tested(done) == 14
    assert done.contributions["station-1"]["rows_chosen"] > 0


def test_rows_of_a_lost_station_stay_when_another_one_joins(settings: Any) -> None:
    """Station 1 is lost after round 1, station 2 joins in round 2: weights are fixed anew."""
    lost, late = ODD, 998

    def online(grid: LocalGrid, node: int) -> bool:
        built = grid.kinds.count("train")
        return built < 2 if node == lost else node != late or built >= 2

    done = run_local(settings(num_server_rounds=2), online=online)
    assert done.error is None
    assert done.stations["station-1"]["status"] == "failed"
    assert done.stations["station-2"]["joined_round"] == 2
    assert done.contributions["station-1"]["rows_chosen"] > 0
    assert done.contributions["station-2"]["rows_chosen"] > 0
    assert done.run["summary"].startswith("used 2 of 3, failed station-1: its SuperNode went away")
    assert any("left after its rows had been merged" in text for text in done.run["notices"])


def test_a_latecomer_with_a_name_that_is_taken_is_refused_and_the_first_stays(
    settings: Any,
) -> None:
    nodes = simulated_nodes(3)
    nodes[ODD] = nodes[1000]  # answers as station-0
    done = run_local(
        settings(num_server_rounds=2), nodes=nodes, online=first_online_after("train", 2)
    )
    assert done.error is None
    found = [(s["name"], s["status"], s["joined_round"]) for s in done.run["stations"]]
    assert ("station-0", "used", 1) in found
    assert ("station-0", "refused", 2) in found
    assert not any("left after its rows" in notice for notice in done.run["notices"])
    assert "a station named station-0 is in this run already (used)" in done.run["summary"]


def test_a_station_that_comes_back_as_another_node_continues_where_it_was(settings: Any) -> None:
    """Without keys a SuperNode that is started again gets a new number from Flower."""
    nodes = simulated_nodes(3)
    again = 5000
    nodes[again] = nodes[ODD]

    def online(grid: LocalGrid, node: int) -> bool:
        built = grid.kinds.count("train")
        return built < 4 if node == ODD else node != again or built >= 6

    done = run_local(settings(num_server_rounds=3), nodes=nodes, online=online)
    assert done.error is None
    assert {n: s["status"] for n, s in done.stations.items()} == dict.fromkeys(
        ("station-0", "station-1", "station-2"), "used"
    )
    assert len(done.run["stations"]) == 3
    back = done.stations["station-1"]
    assert back["joined_round"] == 1
    assert done.contributions["station-1"]["rows_chosen"] > 0
    assert images_tested(done) == 14


def test_a_station_that_comes_back_under_another_name_is_refused(settings: Any) -> None:
    def tamper(node: int, request: Message, reply: Message) -> Message:
        nonlocal surveys
        if node != ODD or request.metadata.message_type != "query":
            return reply
        surveys += 1
        told = read_facts(reply.content, SurveyReply)
        name = "station-1" if surveys == 1 else "other"
        content = to_record(told.model_copy(update={"station": name}))
        return Message(content=content, metadata=reply.metadata)

    surveys = 0
    done = run_local(settings(num_server_rounds=3), tamper=tamper, online=away_between(3, 5))
    assert done.error is None
    odd = done.stations["station-1"]
    assert odd["status"] == "refused"
    assert "its SuperNode went away" in odd["reason"]
    assert "back before round 3: came back as 'other'" in odd["reason"]
    assert done.contributions["station-1"]["rows_chosen"] > 0


def test_a_late_station_in_another_feature_space_is_refused(settings: Any, tmp_path: Path) -> None:
    def tamper(node: int, request: Message, reply: Message) -> Message:
        if node != ODD or request.metadata.message_type != "query":
            return reply
        told = read_facts(reply.content, SurveyReply)
        odd = told.model_copy(update={"feature_dim": 385})
        return Message(content=to_record(odd), metadata=reply.metadata)

    done = run_local(
        settings(num_server_rounds=2), tamper=tamper, online=first_online_after("train", 2)
    )
    assert done.error is None
    assert done.stations["station-1"]["status"] == "refused"
    assert "has features of 385 numbers" in done.stations["station-1"]["reason"]
    assert images_tested(done) < 14
