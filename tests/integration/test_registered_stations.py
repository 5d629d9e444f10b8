"""A plant whose server holds the stations' public keys: names belong to keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Message
from letter_cases import PlantKeys
from local_grid import Finished, LocalGrid, always, run_local, small_settings
from station_folders import EVERYTHING, give, real_nodes

from common.errors import RunError
from common.plant.keys.station_keys import read_station_key

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

STATIONS = {"gate": "pipe_clip", "mill": "tank_screw", "press": "pipe_staple"}


class Plant:
    """Three stations, the folder of their keys, and what Flower tells of the nodes."""

    def __init__(self, tiny_data: Path, folder: Path) -> None:
        self.tiny_data, self.folder = tiny_data, folder
        self.own = PlantKeys.make(folder / "keys")
        self.keys = self.own.stations
        for name, part in STATIONS.items():
            give(tiny_data, folder / "stations" / name, part, *EVERYTHING)
        self.nodes = real_nodes(folder / "stations")
        for config in self.nodes.values():
            config |= self.own.node_config(config["station"])
        self.members = {
            node: {"name": config["station"], "public_key": self.new_key(config["station"])}
            for node, config in self.nodes.items()
        }

    def new_key(self, name: str) -> bytes:
        """Put a key into the folder as OpenSSH writes it; return it as Flower keeps it."""
        key = read_station_key(self.own.station(name)).public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def run(self, **changes: Any) -> Finished:
        online = changes.pop("online", always)
        settings = small_settings(
            self.tiny_data, self.folder / "unused", **{"global_bank_size": 40, **changes}
        )
        return run_local(
            settings,
            nodes=self.nodes,
            members=self.members,
            folder=self.folder / "runs",
            online=online,
        )


@pytest.fixture
def plant(
    tiny_data: Path, tmp_path: Path, plain_files: None, monkeypatch: pytest.MonkeyPatch
) -> Plant:
    made = Plant(tiny_data, tmp_path)
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("FEDPATCHCORE_STATIONS", str(made.keys))
    monkeypatch.setenv("FEDPATCHCORE_APP_KEY", str(made.own.folder / "app.key"))
    # To the ServerApp this grid is the one of a real plant.
    monkeypatch.setattr("flwr.superlink.grid.HttpGrid", LocalGrid)
    retries = SimpleNamespace(should_giveup=lambda error: True)
    monkeypatch.setattr(LocalGrid, "_retry_invoker", retries, raising=False)
    monkeypatch.setattr("server_app.admission.GRACE_FOR_THE_REST", 0.2)
    monkeypatch.setattr("server_app.admission.WAIT_FOR_STATIONS", 0.6)
    return made


def test_registered_stations_take_part_under_their_names(plant: Plant) -> None:
    done = plant.run()
    assert done.error is None
    assert {n: s["status"] for n, s in done.stations.items()} == dict.fromkeys(STATIONS, "used")
    assert done.run["summary"] == "used 3 of 3"


def test_a_station_under_a_name_that_is_not_its_keys_takes_no_letter(plant: Plant) -> None:
    node = next(n for n, config in plant.nodes.items() if config["station"] == "mill")
    plant.nodes[node]["station"] = "press"  # a copied settings file, or a lie
    done = plant.run(min_stations=2)
    assert done.error is None
    assert done.stations["mill"]["status"] == "failed"
    reason = done.stations["mill"]["reason"]
    assert "key is registered as 'mill', and this one calls itself 'press'" in reason
    assert 'put station = "mill" in its settings' in reason
    # The station whose name was taken in vain is not touched.
    assert done.stations["press"]["status"] == "used"
    assert "mill" not in done.contributions


def test_without_a_folder_of_keys_the_name_that_flower_holds_counts(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDPATCHCORE_STATIONS")
    monkeypatch.delenv("FEDPATCHCORE_APP_KEY")
    for config in plant.nodes.values():  # the grid signs in the server's place
        del config["app-key"], config["station-key"]
    first, second, third = sorted(plant.nodes)
    plant.members = {first: {"name": "gate"}, second: {"name": "other"}, third: {}}
    done = plant.run(min_stations=2)
    assert done.error is None
    assert {n: s["status"] for n, s in done.stations.items()} == {
        "gate": "used", "other": "refused", "press": "used",
    }  # fmt: skip
    assert "its key is registered as 'other'" in done.stations["other"]["reason"]


def test_a_key_that_nobody_put_in_the_folder_is_refused_and_not_asked(plant: Plant) -> None:
    (plant.keys / "mill.pub").unlink()
    done = plant.run()
    assert done.error is None  # all that belong to the plant are there
    refused = [s for s in done.run["stations"] if s["status"] == "refused"]
    assert len(refused) == 1
    assert "registered with Flower as 'mill' is none of the 2" in refused[0]["reason"]
    assert refused[0]["bytes_down"] == 0
    assert done.run["summary"].startswith("used 2 of 3, refused node-")


def test_an_expected_station_that_is_not_online_is_missing(plant: Plant) -> None:
    plant.new_key("clip-inspection")
    done = plant.run(min_stations=3)
    assert done.error is None
    missing = done.stations["clip-inspection"]
    assert (missing["status"], missing["reason"]) == ("missing", "not online")
    assert done.run["summary"] == "used 3 of 4, missing clip-inspection: not online"
    assert done.run["notices"][0] == done.run["summary"]


def test_min_stations_0_asks_for_all_that_are_expected(plant: Plant) -> None:
    plant.new_key("clip-inspection")
    done = plant.run()
    assert isinstance(done.error, RunError)
    assert done.run["error"] == (
        "3 stations were online within 1 s, 4 are needed (clip-inspection not online); start the "
        "stations' SuperNodes and look at their logs"
    )
    assert done.stations["clip-inspection"]["status"] == "missing"
    assert not (done.folder / "model").exists()
    assert done.grid is not None
    assert done.grid.kinds == []


def test_an_expected_station_may_come_before_the_next_round(plant: Plant) -> None:
    late = next(n for n, config in plant.nodes.items() if config["station"] == "mill")
    done = plant.run(
        min_stations=2,
        num_server_rounds=2,
        online=lambda grid, node: node != late or grid.kinds.count("train") >= 2,
    )
    assert done.error is None
    assert done.stations["mill"]["status"] == "used"
    assert done.stations["mill"]["joined_round"] == 2
    assert done.contributions["mill"]["rows_chosen"] > 0
    assert "tank_screw" in done.metrics
    assert done.run["summary"] == "used 3 of 3"


def test_an_unusable_folder_of_keys_fails_the_run_and_is_named(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plant.keys / "mill.pub").write_text("ssh-rsa nonsense")
    done = plant.run()
    assert "the key of station mill cannot be used" in done.run["error"]
    assert done.run["status"] == "failed"


def test_an_answer_that_flower_cannot_unpack_harms_only_its_sender(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a SuperNode whose pieces of a message do not fit together."""
    node = next(n for n, config in plant.nodes.items() if config["station"] == "mill")
    honest = LocalGrid.pull_messages

    def broken(grid: LocalGrid, message_ids: Iterable[str]) -> list[Message]:
        replies = honest(grid, message_ids)
        for reply in replies:
            if reply.metadata.src_node_id == node and reply.metadata.message_type == "train":
                raise ValueError("Unexpected set of `children`.\nExpected {...}")
        return replies

    monkeypatch.setattr(LocalGrid, "pull_messages", broken)
    done = plant.run(min_stations=2)
    assert done.error is None
    assert done.stations["mill"]["status"] == "failed"
    assert (
        "its answer cannot be unpacked (ValueError: Unexpected set of `children`. Expected"
        in (done.stations["mill"]["reason"])
    )
    assert done.contributions["mill"]["rows_chosen"] == 0
    assert done.run["summary"].startswith("used 2 of 3, failed mill: ")


def test_a_station_that_is_left_out_hears_nothing(plant: Plant) -> None:
    done = plant.run(without="mill")
    assert done.error is None
    assert done.stations["mill"]["status"] == "missing"
    assert done.stations["mill"]["reason"] == "left out on request"
    assert (done.stations["mill"]["bytes_up"], done.stations["mill"]["bytes_down"]) == (0, 0)
    assert [done.stations[name]["status"] for name in ("gate", "press")] == ["used", "used"]
    assert done.grid is not None
    assert done.grid.kinds.count("query") == 2
    # Nor before a later round.
    again = plant.run(without="mill", num_server_rounds=2)
    assert again.stations["mill"]["reason"] == "left out on request"
    wrong = plant.run(without="mil")
    assert isinstance(wrong.error, RunError)
    assert "found mil, expected stations of this run; known ones are: gate, mill" in str(
        wrong.error
    )


def test_an_earlier_model_is_delivered_again_by_a_run_of_its_own(plant: Plant) -> None:
    done = plant.run()
    states = {name: s["delivery"]["state"] for name, s in done.stations.items()}
    assert states == dict.fromkeys(STATIONS, "active")
    models = plant.folder / "models"
    shutil.rmtree(models / "mill")
    again = plant.run(deliver=done.folder.name, min_stations=1)
    assert again.error is None
    assert again.run["method"] == "delivery"
    assert again.run["status"] == "completed"
    assert again.run["model_sha256"] == done.run["model_sha256"]
    told = {name: s["delivery"] for name, s in again.stations.items()}
    assert {name: one["state"] for name, one in told.items()} == dict.fromkeys(STATIONS, "active")
    assert {n: one["known"] for n, one in told.items()} == {
        "gate": True, "mill": False, "press": True,
    }  # fmt: skip
    # Who has it is sent no rows.
    assert again.grid is not None
    assert again.grid.kinds.count("train.take_bank") == 1
    assert not (again.folder / "model").exists()
    assert Finished(done.folder).stations["mill"]["delivery"]["by_run"] == again.folder.name


def test_a_run_that_left_no_model_cannot_be_delivered(plant: Plant) -> None:
    done = plant.run(deliver="404", min_stations=1)
    assert "run 404 has left no model" in done.run["error"]
    assert done.run["status"] == "failed"
