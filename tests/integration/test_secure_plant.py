"""The secured plant: runs to the end, refuses who does not belong, survives what dies.

One plant serves all tests here, in this order: each leaves three stations that are served, or
says in which state the next one finds them.
"""

from __future__ import annotations

import os
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_cases import exchange, post
from local_grid import Finished, run_local, small_settings
from plant_results import require_no_path, require_same
from processes import free_port, wait_for
from safetensors.numpy import load_file
from secure_plant import STATIONS, SecurePlant, secure_plant

from common import __version__
from common.line.models import ModelVersions
from common.patchcore.model_store import SavedModel
from common.plant.app.installed import installed_app

pytestmark = [pytest.mark.flower, pytest.mark.plant]


@pytest.fixture(scope="module")
def plant(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecurePlant]:
    with secure_plant(tmp_path_factory.mktemp("plant"), tiny_data) as running:
        yield running


@pytest.fixture(scope="module")
def strangers(plant: SecurePlant) -> Path:
    """Keys of another plant, with stations of the same names."""
    plant.command("keys", "strangers", *(f"--station={name}" for name in STATIONS))
    return plant.folder / "strangers"


def delivered(plant: SecurePlant, station: str) -> ModelVersions:
    return ModelVersions(plant.cache(station) / "models")


@pytest.mark.usefixtures("flower_task", "plain_files")
def test_a_run_gives_what_its_simulation_gives(
    plant: SecurePlant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = plant.submit()
    done = submitted.finished()
    assert {n: s["status"] for n, s in done.stations.items()} == dict.fromkeys(STATIONS, "used")
    assert done.run["summary"] == "used 3 of 3"
    assert "round 1: 3 stations build their banks" in submitted.output
    assert "pipe_clip" in submitted.output  # the table of metrics
    assert "finished:completed" in plant.administer("status", submitted.run_id)

    out = tmp_path / "result"
    told = plant.command(
        "result", submitted.run_id, "--out", str(out), "--runs", str(plant.folder / "runs")
    )
    assert f"Written: {out}" in told
    written = sorted(path.relative_to(done.folder) for path in done.folder.rglob("*"))
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == written

    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    settings = small_settings(
        plant.data, tmp_path / "simulated", num_stations=3, weights=str(plant.weights)
    )
    require_same(done, run_local(settings), STATIONS)
    assert Finished(out).bank == done.bank

    # Every station has the model: the server's rows, tested there, and judging.
    whole = load_file(done.folder / "model" / "bank.safetensors")
    for name in STATIONS:
        told = done.stations[name]["delivery"]
        assert (told["state"], told["accepted"], told["known"]) == ("active", True, False), told
        active = delivered(plant, name).active()
        assert active is not None
        assert (active.name, active.sha256) == (submitted.run_id, told["model_sha256"])
        own = load_file(active.folder / "bank.safetensors")
        assert {bank: rows.tobytes() for bank, rows in own.items()} == {
            bank: rows.tobytes() for bank, rows in whole.items()
        }
        assert not (plant.cache(name) / "runs" / f"{submitted.run_id}-{name}").exists()
        # By which program it was made: the app that every place here has looked at and taken.
        origin = SavedModel.load(active.folder).provenance
        assert origin["app_sha256"] == installed_app().hash
        assert origin["program_version"] == __version__
    assert "Model active: assembly, clips, quality" in submitted.output
    assert "model there" in (done.folder / "report.html").read_text()

    # The stations are those of their files, and tell nothing of where anything lies.
    assert done.run["method"] == "federated"
    assert done.run["feature_space"]["weights"] == "local file"
    assert done.extracted == 62
    require_no_path(done, plant.folder)


def test_registering_again_changes_nothing_and_the_status_shows_all(plant: SecurePlant) -> None:
    again = plant.administer("register")
    assert all(f"{name}: known already" in again for name in STATIONS)
    told = plant.administer("status")
    lines = [line for line in told.splitlines() if "online" in line]
    assert len(lines) == len(STATIONS)
    assert all(any(name in line for line in lines) for name in STATIONS)


def test_a_station_that_was_removed_needs_a_new_key(plant: SecurePlant) -> None:
    plant.command("keys", "keys", "--station=spare")
    key = plant.server_keys / "stations" / "spare.pub"
    assert "spare: registered" in plant.administer("register")
    # Its key in the folder would let it in again the next time.
    assert "delete that file first" in plant.administer("register", "--remove=spare", code=2)
    content = key.read_bytes()
    key.unlink()
    assert "spare: removed" in plant.administer("register", "--remove=spare")
    assert "spare" not in plant.administer("status")
    assert "no station of this name" in plant.administer("register", "--remove=spare", code=2)
    key.write_bytes(content)
    told = plant.administer("register", code=1)
    assert "this key was removed before" in told
    assert "make a new one" in told
    key.unlink()


def test_a_key_has_one_name_and_a_name_one_key(plant: SecurePlant, strangers: Path) -> None:
    members = plant.server_keys / "stations"
    copy, other = members / "copy.pub", (strangers / "stations/clips/station.pub").read_bytes()
    copy.write_bytes((members / "clips.pub").read_bytes())
    assert "this key is registered as 'clips'" in plant.administer("register", code=1)
    copy.unlink()
    own = (members / "clips.pub").read_bytes()
    (members / "clips.pub").write_bytes(other)
    try:
        assert "clips is registered with another key" in plant.administer("register", code=1)
    finally:
        (members / "clips.pub").write_bytes(own)


@pytest.mark.parametrize(
    ("server", "path", "status"),
    [
        ("gateway", "/v1/control/list-runs", 403),
        ("gateway", "/v1/control/register-node", 403),
        ("gateway", "/v1/runtime/acquire-task", 403),
        ("gateway", "/v1/fleet/../control/list-runs", 403),
        # The very calls are there: it is the gateway that refuses them.
        ("superlink", "/v1/control/list-runs", 200),
    ],
)
def test_a_station_reaches_the_fleet_api_alone(
    plant: SecurePlant, server: str, path: str, status: int
) -> None:
    """An empty body is a whole request without fields."""
    if server == "gateway":
        named = {"content_type": "application/protobuf", "flwr_package_version": "1.41.0"}
        found, text = exchange(
            plant.folder / "keys", plant.gateway_port, post(path, **named), station="clips"
        )
        assert (found, text[:12]) == (status, b"This gateway")
        return
    trust = ssl.create_default_context(cafile=str(plant.server_keys / "ca.crt"))
    headers = {
        "Content-Type": "application/protobuf",
        "flwr-package-name": "flwr",
        "flwr-package-version": "1.41.0",
        "flwr-component-name": "flwr CLI",
    }
    where = f"https://{plant.superlink}{path}"
    request = urllib.request.Request(where, b"", headers, method="POST")
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
    )
    try:
        with direct.open(request, timeout=30) as answer:
            found, body = answer.status, b""
    except urllib.error.HTTPError as error:
        found, body = error.code, error.read()
    assert found == status, body


def test_who_does_not_belong_is_refused(plant: SecurePlant, strangers: Path) -> None:
    own = plant.folder / "keys" / "stations" / "clips"
    their = strangers / "stations" / "clips"
    # At the SuperLink itself: what stands before it is no reason for it to be less careful.
    supernode = ["flower-supernode", f"--superlink={plant.superlink}", "--max-retries=1"]
    gateway = ["flower-supernode", f"--superlink={plant.gateway}", "--max-retries=1"]
    ca, key = f"--root-certificates={own / 'ca.crt'}", "--auth-supernode-private-key="
    cases = {
        "unknown-key": ([ca, f"{key}{their / 'station.key'}"], "code: 2004"),
        "no-key": ([ca], "code: 2001"),
        "plaintext": (["--insecure"], "Server disconnected"),
        "wrong-ca": (
            [f"--root-certificates={their / 'ca.crt'}", f"{key}{own / 'station.key'}"],
            "CERTIFICATE_VERIFY_FAILED",
        ),
        # Its key is registered and online: a copy of a station's key is a second one of its name.
        "copied-key": ([ca, f"{key}{own / 'station.key'}"], "code: 2004"),
    }
    processes = {
        name: plant.flower(name, *supernode, *options, f"--port={free_port()}")
        for name, (options, _) in cases.items()
    }
    # Its key is registered, but nothing shows the station's certificate: no answer at all.
    cases["no-certificate"] = ([], "Server disconnected")
    own_key = [ca, f"{key}{own / 'station.key'}", f"--port={free_port()}"]
    processes["no-certificate"] = plant.flower("no-certificate", *gateway, *own_key)
    for name, (_, sign) in cases.items():
        assert processes[name].wait(240) != 0, name
        assert sign in plant.log(name), (name, plant.log(name))
    assert "SuperNode ID" not in "".join(plant.log(name) for name in cases)


def test_the_launcher_says_why_its_station_is_refused(plant: SecurePlant, strangers: Path) -> None:
    their = strangers / "stations" / "clips"
    plant.start_station("clips", cache="wrong-ca-file", ca=str(their / "ca.crt"))
    plant.start_station("clips", cache="copy")  # the same station on a second machine
    plant.start_station("clips", cache="other-key", key=str(their / "station.key"))
    plant.start_station("clips", cache="other-pem", certificate=str(their / "station.pem"))
    wait_for(
        "the wrong authority to be told",
        lambda: "it was not signed by the authority in server.ca" in plant.log("wrong-ca-file"),
        240,
    )
    wait_for(
        "a certificate of another plant to be told",
        lambda: "it ended the connection right after the handshake" in plant.log("other-pem"),
        240,
    )
    wait_for(
        "the gateway to tell the same",
        lambda: "its certificate is by another authority" in plant.log("gateway"),
        60,
    )
    wait_for(
        "another station's key to be told",
        lambda: "the gateway refused this station's key with this" in plant.log("other-key"),
        240,
    )
    assert "refused with 403 for a Flower key of another" in plant.log("gateway")
    wait_for(
        "the second clips to be told",
        lambda: "an earlier SuperNode with this key still counts as online" in plant.log("copy"),
        240,
    )
    for name in ("wrong-ca-file", "copy", "other-key", "other-pem"):
        assert not (plant.cache(name) / "alive").exists()
        plant.stop(name)


def test_an_executor_without_the_secret_gets_no_work(plant: SecurePlant) -> None:
    wrong = plant.folder / "wrong.secret"
    wrong.write_bytes(os.urandom(32))
    executor = [
        "flower-superexec",
        f"--runtime-api-address={plant.superlink}",
        f"--root-certificates={plant.server_keys / 'ca.crt'}",
    ]
    refusal = "SuperExec authentication failed for /flwr.proto.Runtime/AcquireTask"
    before = plant.log("superlink").count(refusal)
    plant.flower("no-secret", *executor)
    plant.flower("wrong-secret", *executor, f"--superexec-auth-secret-file={wrong}")
    wait_for("both to be refused", lambda: plant.log("superlink").count(refusal) >= before + 2, 240)
    for name in ("no-secret", "wrong-secret"):
        plant.stop(name)


def test_a_station_that_dies_is_named_and_the_others_go_on(plant: SecurePlant) -> None:
    """Leaves two stations that are served."""
    submitted = plant.submit("min-stations=2")
    with plant.held("clips", submitted.run_id):
        wait_for("round 1", lambda: plant.building("clips", submitted.run_id), 300)
        plant.kill("clips")
    done = submitted.finished()
    assert done.run["summary"].startswith("used 2 of 3, failed clips: its SuperNode went away")
    assert any("used 2 of 3, failed clips" in notice for notice in done.run["notices"])
    assert "its SuperNode went away" in done.stations["clips"]["reason"]
    assert done.extracted == 0  # every station has its features still
    assert {n: s["status"] for n, s in done.stations.items()} == {
        "assembly": "used", "clips": "failed", "quality": "used",
    }  # fmt: skip
    assert "used 2 of 3, failed clips" in submitted.output
    assert "used 2 of 3, failed clips" in (done.folder / "report.html").read_text()


def test_a_late_station_joins_the_next_round(plant: SecurePlant) -> None:
    submitted = plant.submit("min-stations=2", "num-server-rounds=2")
    # The round lasts until this station answers, so that the other one surely comes into it.
    with plant.held("quality", submitted.run_id):
        wait_for("round 1", lambda: plant.building("quality", submitted.run_id), 300)
        plant.start_station("clips")
        # Who follows a run may go; SIGTERM is to our commands what Ctrl-C is.
        submitted.process.send_signal(signal.SIGTERM)
        assert submitted.wait(60) == 130
        assert f"The run goes on. See `fedpatchcore plant status {submitted.run_id}" in (
            submitted.output
        )
        plant.wait_until_served("clips")
    folder = plant.folder / "runs" / submitted.run_id
    wait_for("the end of the run", lambda: plant.ended(submitted.run_id), 600)
    done = Finished(folder)
    assert done.run["summary"] == "used 3 of 3"
    assert {n: s["joined_round"] for n, s in done.stations.items()} == {
        "assembly": 1, "clips": 2, "quality": 1,
    }  # fmt: skip


def test_a_station_that_was_away_is_sent_the_model_afterwards(plant: SecurePlant) -> None:
    """Of the run in which it died; the others have had it since."""
    runs = ("--runs", str(plant.folder / "runs"))
    folders = [path.parent for path in (plant.folder / "runs").glob("*/run.json")]
    earlier = next(
        done
        for done in map(Finished, folders)
        if done.stations.get("clips", {}).get("status") == "failed"
    )
    run_id = earlier.folder.name
    assert earlier.stations["clips"]["delivery"]["state"] == "failed"
    assert earlier.stations["quality"]["delivery"]["state"] == "active"
    told = plant.administer("deliver", run_id, *runs, "--station=clips")
    assert "active" in told
    active = delivered(plant, "clips").active()
    assert active is not None
    assert active.name == run_id
    again = plant.administer("deliver", run_id, *runs)  # all of them: the plant goes back to it
    assert again.count("had it already") == len(STATIONS)
    for name in STATIONS:
        judging = delivered(plant, name).active()
        assert judging is not None
        assert judging.name == run_id
    now = Finished(earlier.folder).stations["clips"]["delivery"]
    assert now["state"] == "active"
    assert now["by_run"].isdigit()
    assert Finished(plant.folder / "runs" / now["by_run"]).run["method"] == "delivery"


def test_a_superlink_killed_in_mid_run_and_a_name_that_is_not_the_keys(
    plant: SecurePlant,
) -> None:
    plant.stop("quality")
    plant.start_station("quality", station="assembly")
    plant.wait_until_served("quality")
    submitted = plant.submit("min-stations=2")
    with plant.held("assembly", submitted.run_id):
        wait_for("round 1", lambda: plant.building("assembly", submitted.run_id), 300)
        plant.kill("superlink")
        plant.start_superlink()
    done = submitted.finished()

    refused = done.stations["quality"]
    assert refused["status"] == "failed"
    assert "registered as 'quality', and this one calls itself 'assembly'" in refused["reason"]
    # Whose name was taken in vain is not touched, and what the SuperLink knew is known again.
    assert done.stations["assembly"]["status"] == "used"
    assert done.stations["clips"]["status"] == "used"
    assert done.run["summary"].startswith("used 2 of 3, failed quality: refused-letter")
    assert submitted.run_id in plant.administer("status", submitted.run_id)


def test_administration_says_what_is_wrong_with_the_connection(
    plant: SecurePlant, strangers: Path
) -> None:
    keys = str(plant.server_keys)
    their = str(strangers / "server")
    nobody = f"127.0.0.1:{free_port()}"
    told = plant.command("plant", "status", "--keys", keys, "--superlink", nobody, code=1)
    assert f"the SuperLink at {nobody} cannot be reached" in told
    told = plant.command("plant", "status", "--keys", their, "--superlink", plant.superlink, code=1)
    assert "certificate that is not to be trusted" in told
    told = plant.command("plant", "status", "--keys", keys, "--superlink", plant.gateway, code=1)
    assert f"the SuperLink at {plant.gateway} ended the connection without an answer" in told
    assert "give the SuperLink's own address" in told
    told = plant.administer("run", "--set=global-bank-size=0", code=2)
    assert "setting global-bank-size" in told
