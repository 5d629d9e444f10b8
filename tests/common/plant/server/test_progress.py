"""Which station of a running run is stalled, by the rule that `plant status` states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.plant.server.control import RegisteredNode
from common.plant.server.progress import progress_of

NOW = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
NODES = [
    RegisteredNode(11, "a", "online", "", ""),
    RegisteredNode(12, "b", "online", "", ""),
    RegisteredNode(13, "c", "online", "", ""),
]


def station(name: str, state: str, ago: float, seconds: float | None = None) -> dict[str, Any]:
    since = (NOW - timedelta(seconds=ago)).isoformat()
    return {
        "name": name, "step": "score", "state": state, "since": since, "seconds": seconds,
    }  # fmt: skip


def stalled(*stations: dict[str, Any], nodes: list[RegisteredNode] = NODES) -> dict[str, Any]:
    progress = {"step": "score", "round": 1, "since": NOW.isoformat(), "stations": list(stations)}
    told = progress_of(
        {"status": "running", "flower_run_id": "5", "progress": progress}, nodes, NOW
    )
    assert told is not None
    assert "node" not in str(told)
    return {one["name"]: one["stalled"] for one in told["stations"]}


@pytest.mark.parametrize(
    ("waited", "slowest", "expected"),
    [
        (59.0, 1.0, None),  # within a minute nobody is stalled
        (61.0, 1.0, "no answer for 61 s; the others took at most 1 s"),
        (299.0, 100.0, None),  # three times the slowest of the others
        (301.0, 100.0, "no answer for 301 s; the others took at most 100 s"),
    ],
)
def test_longer_than_the_others_by_the_rule(
    waited: float, slowest: float, expected: str | None
) -> None:
    others = station("a", "answered", 1, slowest), station("b", "answered", 1, slowest / 2)
    assert stalled(*others, station("c", "asked", waited)) == {"a": None, "b": None, "c": expected}


def test_where_nobody_has_answered_nobody_is_late() -> None:
    assert stalled(station("a", "asked", 9000), station("b", "asked", 9000)) == {
        "a": None,
        "b": None,
    }


def test_answers_of_another_step_tell_nothing() -> None:
    earlier = {**station("a", "answered", 1, 1.0), "step": "survey"}
    assert stalled(earlier, station("b", "asked", 600))["b"] is None


def test_a_station_whose_supernode_is_offline_is_stalled_at_once() -> None:
    away = [*NODES[:2], RegisteredNode(13, "c", "offline", "", "")]
    found = stalled(station("c", "asked", 4), station("a", "answered", 1, 1.0), nodes=away)
    assert found == {"c": "its SuperNode is offline; asked 4 s ago", "a": None}


def test_a_run_that_has_ended_has_no_progress() -> None:
    assert progress_of({"status": "killed", "progress": {"step": "score"}}, NODES) is None
    assert progress_of({"status": "running", "progress": None}, NODES) is None
