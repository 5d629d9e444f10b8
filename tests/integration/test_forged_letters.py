"""A registered station commands nobody: whatever it puts into another's queue, nothing is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import RecordDict
from forger import Forger
from local_grid import run_local, small_settings
from plant_results import require_same
from processes import wait_for
from secure_plant import SMALL, STATIONS, SecurePlant, secure_plant

from common.config import Settings
from common.plant.keys.app_keys import read_app_key
from common.plant.server.control import connected
from common.protocol.letters import Letter, seal_request, settings_digest
from common.protocol.messages import BuildRequest, SurveyRequest
from common.protocol.records import to_request

pytestmark = [pytest.mark.flower, pytest.mark.plant, pytest.mark.usefixtures("flower_task")]

VICTIM, FORGER = "assembly", "quality"
REFUSED = "refused a request, nothing was done: "


@pytest.fixture(scope="module")
def plant(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurePlant]:
    with secure_plant(tmp_path_factory.mktemp("forged"), tiny_data) as running:
        yield running


def one_row() -> RecordDict:
    """What took a station's part in the run from it: 1 row asked for instead of 128."""
    budgets = {"pipe_clip": 1}
    facts = BuildRequest(round=1, budgets=budgets, part=0, parts=1, bank_parts=0)
    return to_request(facts, 600.0)


def sealed(content: RecordDict, run: str, key: Ed25519PrivateKey, **changes: Any) -> RecordDict:
    settings = settings_digest(Settings.from_run_config(SMALL).to_run_config())
    facts = {"station": VICTIM, "kind": "train", "round": 1, "part": 0, "nonce": "a" * 32}
    facts |= {"settings": settings}
    facts |= {"until": int(time.time()) + 600, **changes}
    seal_request(content, Letter(run=int(run), **facts), key)
    return content


def forge(plant: SecurePlant, run: str) -> dict[str, str]:
    """Put every kind of forgery into the victim's queue; what its log must say of each."""
    earlier = str(int(run) - 1)
    server = read_app_key(plant.server_keys / "app.key")
    own = Ed25519PrivateKey.generate()
    with connected(plant.superlink, plant.server_keys / "ca.crt") as control:
        nodes = {node.name: node.node_id for node in control.nodes()}
    # A survey does no harm: the server's own letter, of which somebody has kept a copy.
    survey = [to_request(SurveyRequest(), 600.0) for _ in range(2)]
    for content in survey:
        sealed(content, run, server, kind="query", nonce="b" * 32)
    forgeries: list[tuple[RecordDict, str, str]] = [
        (one_row(), "train", "it carries no signature"),
        (sealed(one_row(), run, own), "train", "is not the one of this server's app key"),
        (
            sealed(one_row(), run, server, station="clips"),
            "train",
            f"registered as 'clips', and this one calls itself '{VICTIM}'",
        ),
        (
            sealed(one_row(), earlier, server),
            "train",
            f"it is of run {earlier}, and came in run {run}",
        ),
        (survey[0], "query", ""),
        (survey[1], "query", "it was obeyed before: somebody sends it a second time"),
    ]
    key = plant.folder / "keys" / "stations" / FORGER / "station.key"
    authority = plant.server_keys / "ca.crt"
    with Forger(plant.superlink, authority, key, nodes[FORGER]) as forger:
        for content, kind, _ in forgeries:
            forger.push(content, kind, int(run), nodes[VICTIM])
    return {why: kind for _, kind, why in forgeries if why}


@pytest.mark.usefixtures("plain_files")
def test_forged_letters_are_refused_told_and_change_nothing(
    plant: SecurePlant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = plant.submit()
    # The run waits for this station meanwhile.
    with plant.held("clips", submitted.run_id):
        wait_for("round 1", lambda: plant.building("clips", submitted.run_id), 300)
        expected = forge(plant, submitted.run_id)
        wait_for(
            "all forgeries to be refused",
            lambda: plant.log(VICTIM).count(REFUSED) >= len(expected),
            300,
        )
    done = submitted.finished()
    told = plant.log(VICTIM)
    for why in expected:
        assert why in told, why
    assert told.count(REFUSED) == len(expected)
    for name in set(STATIONS) - {VICTIM}:
        assert REFUSED not in plant.log(name)

    # The run is what it is without them, and says no address that could be written to.
    assert done.run["summary"] == "used 3 of 3"
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    settings = small_settings(
        plant.data, tmp_path / "simulated", num_stations=3, weights=str(plant.weights)
    )
    require_same(done, run_local(settings), STATIONS)
    with connected(plant.superlink, plant.server_keys / "ca.crt") as control:
        for node in control.nodes():
            for path in done.folder.rglob("*"):
                if path.suffix in (".json", ".html"):
                    assert str(node.node_id) not in path.read_text(), path.name


def test_a_station_of_another_server_obeys_none_of_these_letters(plant: SecurePlant) -> None:
    """Everything else is right: certificate, registered key, name, known app."""
    plant.command("keys", "strangers", "--station=clips")
    foreign = plant.folder / "strangers" / "server" / "app.pub"
    plant.stop("clips")
    plant.start_station("clips", app_key=str(foreign))
    plant.wait_until_served("clips")
    done = plant.submit("min-stations=2").finished()
    assert done.run["summary"].startswith("used 2 of 3, failed clips: refused-letter: did not obey")
    assert "its signature is not the one of this server's app key" in done.run["summary"]
    assert "is not the one of this server's app key" in plant.log("clips")
