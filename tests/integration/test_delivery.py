"""After a run every station has the model, tested it, and lets it judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from local_grid import Finished, honest, run_local, small_settings
from safetensors.numpy import load_file
from station_folders import EVERYTHING, give, real_nodes

from common.line.models import ModelVersions, model_sha256
from common.patchcore.model_store import SavedModel
from common.protocol.messages import Received
from common.protocol.records import to_record
from server_app.outcome import GlobalBank
from server_app.post import Post
from server_app.run_writer import write_outcome

pytestmark = pytest.mark.usefixtures("flower_task", "own_cache")

STATIONS = {"gate": "pipe_clip", "mill": "tank_screw", "press": "pipe_staple"}
NODES = {"gate": 5, "mill": 6, "press": 7}
Run = Callable[..., Finished]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run(tiny_data: Path, tmp_path: Path, plain_files: None, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "runs"))
    for name, part in STATIONS.items():
        give(tiny_data, tmp_path / "plant" / name, part, *EVERYTHING)

    def go(tamper: Any = honest, node: dict[str, Any] | None = None, **changes: Any) -> Finished:
        settings = small_settings(
            tiny_data, tmp_path / "unused", **{"global_bank_size": 60, **changes}
        )
        nodes = {
            number: {**config, **(node or {})}
            for number, config in real_nodes(tmp_path / "plant").items()
        }
        done = run_local(settings, nodes=nodes, folder=tmp_path / "runs", tamper=tamper)
        assert done.error is None
        return done

    return go


def versions(done: Finished, station: str) -> ModelVersions:
    return ModelVersions(done.folder.parents[1] / "models" / station)


def left_in_caches(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.glob("cache/stations/*/runs/*") if path.is_dir()]


@pytest.mark.parametrize("scope", ["shared", "category"])
def test_every_station_has_the_model_with_the_servers_rows(
    run: Run, tmp_path: Path, scope: str
) -> None:
    done = run(bank_scope=scope)
    whole = load_file(done.folder / "model" / "bank.safetensors")
    for name, part in STATIONS.items():
        told = done.stations[name]["delivery"]
        assert (told["state"], told["stored"], told["accepted"]) == ("active", True, True)
        active = versions(done, name).active()
        assert active is not None
        assert (active.name, active.run_id) == (done.folder.name, done.folder.name)
        assert told["model_sha256"] == active.sha256 == model_sha256(active.folder)
        own = SavedModel.load(active.folder)
        assert set(own.banks) == ({"shared"} if scope == "shared" else {part})
        for bank, rows in own.banks.items():
            assert rows.dtype == whole[bank].dtype
            np.testing.assert_array_equal(rows, whole[bank])
        # Nothing of the others: neither what they held out nor what they judge by.
        assert own.categories == (part,)
        assert set(own.thresholds) == {part}
        assert set(own.stations) == {name}
        assert (
            own.stations[name].calibration[part]
            == done.model["stations"][name]["calibration"][part]
        )
        assert own.calibration == {}
        text = (active.folder / "model.json").read_text()
        assert str(tmp_path) not in text
        for other, category in STATIONS.items():
            if other != name:
                for score in done.model["stations"][other]["calibration"][category]:
                    assert str(score) not in text
    assert done.run["seconds"]["deliver"] > 0
    assert done.grid is not None
    assert done.grid.kinds.count("train.deliver") == 3
    assert "train.take_bank" not in done.grid.kinds  # the rows were there since `score`
    assert left_in_caches(tmp_path) == []
    for file in done.folder.rglob("*.json"):
        assert str(tmp_path) not in file.read_text(), file.name


def test_by_category_a_station_is_sent_what_it_holds_alone_in_all_rounds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[tuple[str, str], set[str]] = {}
    messages = Post.messages

    def look(self: Post, kind: str, requests: Any, *more: Any) -> Any:
        for one in requests:
            for name in (*one.rows, *(f"owner of {name}" for name in one.owners)):
                sent.setdefault((kind, one.to.name), set()).add(name)
        return messages(self, kind, requests, *more)

    monkeypatch.setattr(Post, "messages", look)
    done = run(bank_scope="category", num_server_rounds=2)
    for name, part in STATIONS.items():
        assert sent["train.take_bank", name] == {part}
        assert sent["evaluate", name] == {part, f"owner of {part}"}
    assert {s["delivery"]["state"] for s in done.stations.values()} == {"active"}


def test_large_banks_stay_where_they_came_in_parts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_app.plan.PART_BYTES", 8_000)
    done = run()
    assert done.grid is not None
    before = done.grid.kinds.index("evaluate")
    assert done.grid.kinds.count("train.take_bank") > 3
    assert "train.take_bank" not in done.grid.kinds[before:]
    assert {s["delivery"]["state"] for s in done.stations.values()} == {"active"}
    assert left_in_caches(tmp_path) == []


def test_rows_that_are_lost_are_sent_again(run: Run, tmp_path: Path) -> None:
    def lose(node: int, request: Message, reply: Message) -> Message:
        if request.metadata.message_type == "evaluate":
            for path in tmp_path.glob("cache/stations/mill/runs/*/bank-*"):
                path.unlink()
        return reply

    done = run(tamper=lose)
    assert {s["delivery"]["state"] for s in done.stations.values()} == {"active"}
    assert done.grid is not None
    assert done.grid.kinds.count("train.deliver") == 4
    assert done.grid.kinds.count("train.take_bank") == 1


def test_a_delivery_that_fails_costs_the_run_nothing(run: Run, tmp_path: Path) -> None:
    def break_it(node: int, request: Message, reply: Message) -> Message | None:
        if request.metadata.message_type != "train.deliver":
            return reply
        if node == NODES["mill"]:
            return None
        if node == NODES["press"]:
            return Message(to_record(Received(station="press", part=0)), reply_to=request)
        return reply

    done = run(tamper=break_it)
    assert done.run["status"] == "completed"
    assert {n: s["status"] for n, s in done.stations.items()} == dict.fromkeys(STATIONS, "used")
    states = {name: s["delivery"]["state"] for name, s in done.stations.items()}
    assert states == {"gate": "active", "mill": "failed", "press": "failed"}
    assert "no answer within" in done.stations["mill"]["delivery"]["reason"]
    assert "unusable answer" in done.stations["press"]["delivery"]["reason"]


def test_other_rows_than_the_servers_are_a_failed_delivery(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client_app.run_folder import RunFolder

    load = RunFolder.load_banks

    def damaged(self: RunFolder, *words: int) -> Any:
        banks = load(self, *words)
        return banks and {name: rows + np.float16(0.5) for name, rows in banks.items()}

    monkeypatch.setattr(RunFolder, "load_banks", damaged)
    done = run()
    for name, station in done.stations.items():
        assert station["delivery"]["state"] == "failed"
        assert "are not the server's" in station["delivery"]["reason"]
        assert versions(done, name).all() == []


def test_manual_waits_and_what_is_active_stays(run: Run) -> None:
    first = run()
    second = run(node={"activate": "manual"}, seed=7)
    for name in STATIONS:
        told = second.stations[name]["delivery"]
        assert told["state"] == "waiting"
        assert "activate" in told["reason"]
        active = versions(second, name).active()
        assert active is not None
        assert active.name == first.folder.name


def test_a_model_that_fails_acceptance_is_refused_and_the_old_one_stays(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.line.models.acceptance import Acceptance

    first = run()
    found = Acceptance(False, "refused: 9 of 9 good parts lie above the threshold")
    monkeypatch.setattr("common.line.models.admission.accept_version", lambda *a, **k: found)
    second = run(seed=7)
    for name in STATIONS:
        told = second.stations[name]["delivery"]
        assert (told["state"], told["stored"], told["accepted"]) == ("refused", True, False)
        assert "9 of 9 good parts" in told["reason"]
        active = versions(second, name).active()
        assert active is not None
        assert active.name == first.folder.name


def test_a_bank_of_noise_is_refused_by_the_stations_own_good_parts(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(calibration_fraction=0.75)

    def noisy(settings: Any, outcome: Any, **more: Any) -> Path:
        drawn = np.random.default_rng(3)
        for name, bank in outcome.banks.items():
            rows = drawn.normal(scale=9.0, size=bank.rows.shape).astype(bank.rows.dtype)
            outcome.banks[name] = GlobalBank(rows, bank.owners)
        return write_outcome(settings, outcome, **more)

    monkeypatch.setattr("server_app.app.write_outcome", noisy)
    second = run(calibration_fraction=0.75)
    for name in STATIONS:
        told = second.stations[name]["delivery"]
        assert (told["state"], told["accepted"]) == ("refused", False), told
        assert "good parts lie above the threshold" in told["reason"]
        active = versions(second, name).active()
        assert active is not None
        assert active.name == first.folder.name


def test_a_simulation_delivers_nothing(tiny_data: Path, tmp_path: Path, plain_files: None) -> None:
    done = run_local(small_settings(tiny_data, tmp_path / "out", num_stations=2))
    assert done.grid is not None
    assert set(done.grid.kinds) == {"query", "train", "evaluate"}
    assert {s["delivery"] for s in done.stations.values()} == {None}
    assert "deliver" not in done.run["seconds"]
    assert not list(tmp_path.rglob("version.json"))
    assert json.loads((done.folder / "run.json").read_text())["stations"]
