"""Models changed over HTTP: list, threshold, roll back; each tested first and journalled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from inspection_cases import draw_part
from line_service import Running, post, running
from model_versions import station_toml

from common.line.models.versions import ModelVersions
from common.line.service.resident import ActiveVersion
from common.patchcore.model_store import SavedModel
from common.plant.station.own_images import station_rules
from common.plant.station.station_file import read_station_file

MODELS, THRESHOLDS = "/api/v1/models", "/api/v1/thresholds"
EVE = {"by": "Eve", "why": "new lamp"}


@dataclass
class Case:
    line: Running
    versions: ModelVersions
    client: httpx.Client
    scores: list[float]

    def threshold(self, value: float, **more: Any) -> httpx.Response:
        body = {"category": "plate", "value": value, **EVE, **more}
        return self.client.post(THRESHOLDS, json=body)

    def taken_over(self, name: str) -> None:
        until = time.monotonic() + 30
        while self.line.service.resident.found.name != name:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A station with 12 training images, the last six of which are held out."""
    for number in range(12):
        draw_part(tmp_path / f"station/data/plate/train/good/{number:03d}.png", number)
    return station_toml(tmp_path / "station")


@pytest.fixture
def case(saved: Path, file: Path, tmp_path: Path) -> Iterator[Case]:
    versions = ModelVersions(tmp_path / "station/cache/models")
    model = SavedModel.load(saved)
    model = replace(model, provenance={**model.provenance, "calibration_fraction": 0.5})
    versions.store("7", "7", model)
    versions.activate("7", by="test", why="the first")
    rules = station_rules(read_station_file(file))
    source, journal = ActiveVersion(versions), tmp_path / "journal"
    with running(source, journal, station="mill", rules=rules) as line, line.client() as client:
        yield Case(line, versions, client, model.calibration["plate"])


def test_a_threshold_that_passes_judges_the_next_part(case: Case, pictures: list[Path]) -> None:
    before = post(case.client, pictures[1]).json()
    value = before["score"] * 1.01
    answer = case.threshold(value)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["value"], told["previous"]) == (value, before["threshold"])
    assert told["outcome"].startswith("accepted: ")
    assert {key: told["model"][key] for key in ("name", "parent", "state")} == {
        "name": "7.1",
        "parent": "7",
        "state": "active",
    }
    assert told["model"]["acceptance"]["categories"]["plate"]["held_out_images"] == 6
    case.taken_over("7.1")
    after = post(case.client, pictures[1]).json()
    assert (before["anomalous"], after["anomalous"]) == (True, False)
    assert (after["score"], after["threshold"]) == (before["score"], value)
    assert "Set by hand" in after["threshold_source"]
    journal = case.line.service.journal
    switch = journal.switches(limit=1)[0]
    why = "threshold of plate set by hand: new lamp"
    assert (switch.model_sha256, switch.by, switch.why) == (told["model"]["sha256"], "Eve", why)
    (change,) = journal.threshold_changes()
    assert (change.old, change.new, change.by) == (before["threshold"], value, "Eve")
    # And back again.
    back = case.client.post(f"{MODELS}/rollback", json={"by": "Ann", "why": "too late"}).json()
    assert (back["name"], back["state"]) == ("7", "active")
    case.taken_over("7")
    assert post(case.client, pictures[1]).json()["anomalous"] is True
    assert journal.switches(limit=1)[0].by == "Ann"
    found = case.client.get(MODELS).json()["models"]
    assert {one["name"]: one["state"] for one in found} == {"7.1": "kept", "7": "active"}


def test_a_refused_one_stays_and_the_old_one_judges(case: Case, file: Path) -> None:
    for number in range(12):  # the station's parts look otherwise by now
        draw_part(file.parent / f"data/plate/train/good/{number:03d}.png", number, defect=True)
    answer = case.threshold(max(case.scores) * 1.01)
    assert answer.status_code == 409
    told = answer.json()
    assert "6 of 6 held-out good parts lie above the threshold" in told["error"]
    assert told["model"]["state"] == "refused"
    assert case.client.get("/api/v1/status").json()["model"]["name"] == "7"
    again = case.client.post(f"{MODELS}/7.1/activate", json=EVE)
    assert again.status_code == 422
    assert "was refused" in again.json()["error"]
    decided = case.client.post(f"{MODELS}/7.1/activate", json={**EVE, "even_refused": True})
    assert decided.json()["state"] == "active"
    case.taken_over("7.1")


def test_without_images_it_waits(case: Case, file: Path) -> None:
    (file.parent / "data").rename(file.parent / "away")
    told = case.threshold(0.5).json()
    assert told["model"]["state"] == "waiting"
    assert told["outcome"].startswith("not tested, so it waits")


def test_what_cannot_be_set_is_told(case: Case) -> None:
    for body, said in (
        ({"value": 0}, "greater than 0"),
        ({"value": "nan"}, "finite"),
        ({"category": "bolt"}, "does not know it"),
        ({"why": ""}, "at least 1"),
        ({"by": "x" * 101}, "at most 100"),
        ({"other": 1}, "Extra inputs"),
    ):
        answer = case.threshold(**{"value": 0.5, **body})
        assert answer.status_code == 422
        assert said in answer.json()["error"]
    none = case.client.post(f"{MODELS}/rollback", json=EVE)
    assert none.status_code == 422
    assert "no model was active before" in none.json()["error"]
    assert [one.name for one in case.versions.all()] == ["7"]


def test_one_change_at_a_time(case: Case) -> None:
    found: list[int] = []

    def ask() -> None:
        with case.line.client() as client:
            body = {"category": "plate", "value": 0.5, **EVE}
            found.append(client.post(THRESHOLDS, json=body).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) <= {200, 503}
    assert len(case.versions.all()) == 1 + found.count(200)
    assert case.threshold(0.6).status_code == 200


def test_it_takes_an_engineer(case: Case) -> None:
    tokens = {role: case.line.tokens.add(role) for role in ("line", "operator", "engineer")}
    found = {}
    for role, token in tokens.items():
        case.client.headers["authorization"] = f"Bearer {token}"
        answers = (case.threshold(0.5), case.client.post(f"{MODELS}/rollback", json=EVE))
        found[role] = tuple(answer.status_code for answer in answers)
    assert found == {"line": (403, 403), "operator": (403, 403), "engineer": (200, 200)}
