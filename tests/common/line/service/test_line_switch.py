"""Another version becomes active under load: each part is judged by exactly one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from line_service import PARTS, Running, post, running

from common.evaluation import calibrate_threshold
from common.line.models.switch import read_switch, write_switch
from common.line.models.versions import ModelVersions
from common.line.service.bounds import Bounds
from common.line.service.resident import ActiveVersion
from common.patchcore.model_store import SavedModel
from common.runs.record import threshold_facts


@pytest.fixture
def versions(saved: Path, tmp_path: Path) -> ModelVersions:
    """Two versions: the second has half the rows and another threshold."""
    first = SavedModel.load(saved)
    facts = threshold_facts({"plate": calibrate_threshold(first.calibration["plate"], 0.45)})
    assert facts["plate"]["value"] < first.thresholds["plate"]["value"]
    banks = {name: rows[: len(rows) // 2] for name, rows in first.banks.items()}
    versions = ModelVersions(tmp_path / "models")
    versions.store("7", "7", first)
    versions.store("8", "8", replace(first, banks=banks, thresholds=facts))
    versions.activate("7", by="test", why="the first")
    return versions


@pytest.fixture(params=[None, 1], ids=["beside", "instead"])
def line(
    versions: ModelVersions, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Running]:
    """Where memory suffices for two models, and where the process has too much already."""
    bounds = Bounds(memory_bytes=request.param)
    with running(ActiveVersion(versions), tmp_path / "journal", bounds) as one:
        yield one


def waited(what: object, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_switch_under_load(line: Running, versions: ModelVersions, pictures: list[Path]) -> None:
    found: list[tuple[Path, str, float, float]] = []
    enough = threading.Event()

    def client_of(number: int) -> None:
        with line.client() as client:
            while not enough.is_set():
                path = pictures[(number + len(found)) % len(pictures)]
                answer = post(client, path)
                assert answer.status_code == 200
                own = answer.json()
                found.append((path, own["model"]["run_id"], own["score"], own["threshold"]))

    threads = [threading.Thread(target=client_of, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    waited(lambda: len(found) >= 6)
    with line.client() as client:
        body = {"by": "Eve", "why": "tries the new one"}
        answer = client.post("/api/v1/models/8/activate", json=body)
        assert answer.json()["state"] == "active"
        models = client.get("/api/v1/models").json()["models"]
        assert {one["name"]: one["state"] for one in models} == {"7": "kept", "8": "active"}
    waited(lambda: [own for _, own, _, _ in found].count("8") >= 6)
    enough.set()
    for thread in threads:
        thread.join()
    assert {own for _, own, _, _ in found} == {"7", "8"}
    # A score and a threshold belong to the version that is named, always the same ones.
    scores = {(path, own): score for path, own, score, _ in found}
    assert all(scores[path, own] == score for path, own, score, _ in found)
    limits = {own: {limit for _, one, _, limit in found if one == own} for own in "78"}
    (new,) = limits["8"]
    assert len(limits["7"]) == 1
    assert new < min(limits["7"])
    entries = list(line.service.journal.entries())
    assert len(entries) == len(found)
    order = [entry.verdict.run_id for entry in entries]
    switch, first = line.service.journal.switches()
    assert (first.run_id, switch.run_id, switch.by) == ("7", "8", "Eve")
    assert min(e.id for e in entries if e.verdict.run_id == "8") > switch.id
    assert order == sorted(order)
    (change,) = line.service.journal.threshold_changes()
    assert (change.category, change.new, change.why) == ("plate", new, "tries the new one")


def test_a_version_that_cannot_be_loaded_leaves_the_old_one(
    line: Running, versions: ModelVersions, pictures: list[Path]
) -> None:
    with line.client() as client:
        before = post(client, pictures[1]).json()
        bank = versions.get("8").folder / "bank.safetensors"
        bank.write_bytes(bank.read_bytes()[:-4] + b"\x00\x00\x00\x01")
        # `activate` would refuse it: it broke later, and before the service had a look.
        write_switch(versions.folder, read_switch(versions.folder).to("8", "test", ""))
        waited(lambda: line.service.not_loaded is not None)
        status = client.get("/api/v1/status").json()
        assert "was not taken over" in status["not_loaded"]
        assert status["model"]["run_id"] == "7"
        assert post(client, pictures[1]).json()["score"] == before["score"]
        versions.activate("7", by="test", why="back")
        overlay = client.get(f"{PARTS}/{before['id']}/overlay.png")
        assert overlay.status_code == 200


def test_an_overlay_of_another_model_is_not_drawn(
    line: Running, versions: ModelVersions, pictures: list[Path]
) -> None:
    with line.client() as client:
        before = post(client, pictures[1]).json()
        versions.activate("8", by="test", why="new")
        waited(lambda: line.service.resident.run_id == "8")
        answer = client.get(before["overlay"])
        assert answer.status_code == 404
        assert "another one judges now" in answer.json()["error"]
