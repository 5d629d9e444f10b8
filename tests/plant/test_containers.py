"""The plant in real containers: closed off, equal to a simulation, and alive after losses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from container_plant import (
    IMAGES,
    SERVICES,
    SETTINGS,
    SIZE,
    STATIONS,
    ContainerPlant,
    metrics_of,
    numbers_in,
    run_folder,
    wait_until,
)

pytestmark = [pytest.mark.docker, pytest.mark.plant]

LARGEST = 2_000_000_000


def test_the_image_is_small_enough(plant: ContainerPlant) -> None:
    size = plant.engine.images.get(plant.image).attrs["Size"]

    assert size <= LARGEST, f"{size / 1e9:.2f} GB"


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_rights_that_it_does_not_need(
    plant: ContainerPlant, service: str
) -> None:
    told = json.loads(
        plant.python(
            service,
            "import json, os\n"
            "def writes(place):\n"
            "    try:\n"
            "        open(place + '/x', 'w').close()\n"
            "    except OSError as error:\n"
            "        return error.errno\n"
            "    os.remove(place + '/x')\n"
            "    return 0\n"
            "status = dict(l.split(':', 1) for l in open('/proc/1/status') if ':' in l)\n"
            "print(json.dumps({'uid': os.getuid(), 'gid': os.getgid(),\n"
            "    'CapEff': status['CapEff'].strip(), 'CapBnd': status['CapBnd'].strip(),\n"
            "    'NoNewPrivs': status['NoNewPrivs'].strip(),\n"
            "    'tmp': writes('/tmp'), 'app': writes('/app'), 'etc': writes('/etc'),\n"
            "    'root': writes('/'), 'venv': writes('/opt/venv')}))",
        )
    )
    host = plant.container(service).attrs["HostConfig"]

    assert told["uid"] != 0
    assert told["gid"] != 0
    assert int(told["CapEff"], 16) == 0
    assert int(told["CapBnd"], 16) == 0
    assert told["NoNewPrivs"] == "1"
    assert told["tmp"] == 0
    read_only = 30
    assert {told[place] for place in ("app", "etc", "root", "venv")} <= {read_only, 13}
    assert told["etc"] == read_only or host["ReadonlyRootfs"]
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"]["max-size"] == "10m"
    assert not host["PortBindings"]
    assert plant.health(service) == "healthy"


@pytest.mark.parametrize("station", STATIONS)
def test_a_station_sees_its_own_images_and_key_alone(plant: ContainerPlant, station: str) -> None:
    told = json.loads(
        plant.python(
            station,
            "import json, os, pathlib\n"
            "keys = sorted(str(p) for top in ('/run', '/keys', '/etc/fedpatchcore', '/data')\n"
            "    for p in pathlib.Path(top).rglob('*')\n"
            "    if p.is_file() and (p.suffix in ('.key', '.secret', '.pub', '.crt', '.pem')))\n"
            "try:\n"
            "    open('/data/x', 'w').close()\n"
            "    written = 'yes'\n"
            "except OSError as error:\n"
            "    written = error.strerror\n"
            "print(json.dumps({'images': sorted(os.listdir('/data')), 'keys': keys,\n"
            "    'key': open('/run/secrets/station.key').read(), 'written': written}))",
        )
    )
    data = plant.home / "data"
    mounts = {m["Source"] for m in plant.container(station).attrs["Mounts"] if m["Type"] == "bind"}

    assert told["images"] == sorted(os.listdir(data / station))
    own_files = ("app.pub", "ca.crt", "station.key", "station.pem")
    assert told["keys"] == [f"/run/secrets/{name}" for name in own_files]
    assert told["key"] == (plant.home / "keys/stations" / station / "station.key").read_text()
    assert told["written"] == "Read-only file system"
    others = [name for name in STATIONS if name != station]
    assert not [source for source in mounts if any(name in source for name in others)]
    assert not [source for source in mounts if source in (str(data), str(plant.home / "keys"))]


def test_stations_reach_the_gateway_and_nothing_else(plant: ContainerPlant) -> None:
    targets = {
        "superlink": (plant.address("superlink", "administration"), 8000),
        "gateway's other side": (plant.address("gateway", "administration"), 9443),
        "the internet": ("1.1.1.1", 443),
    }
    for name in STATIONS:
        targets[name] = (plant.address(name, name), 9094)
        targets[f"gateway on {name}"] = (plant.address("gateway", name), 9443)

    for station in STATIONS:
        reached = plant.reached(station, targets)
        assert reached.pop(f"gateway on {station}") == "connected"
        # Where nothing listens a machine that is reached refuses, as this one does itself.
        assert reached.pop(station) == "Connection refused"
        assert set(reached.values()) <= {"timed out", "Network is unreachable"}, (station, reached)
        assert len(reached) == len(targets) - 2


@pytest.mark.parametrize("station", STATIONS)
def test_a_station_knows_no_name_but_the_gateway_s(plant: ContainerPlant, station: str) -> None:
    known = json.loads(
        plant.python(
            station,
            "import concurrent.futures, json, socket\n"
            "def known(name):\n"
            "    try:\n"
            "        return bool(socket.gethostbyname(name))\n"
            "    except OSError:\n"
            "        return False\n"
            f"names = {(*SERVICES, 'example.org')!r}\n"
            "with concurrent.futures.ThreadPoolExecutor(20) as pool:\n"
            "    found = dict(zip(names, pool.map(known, names)))\n"
            "print(json.dumps([name for name in names if found[name]]))",
        )
    )

    assert sorted(known) == sorted([station, "gateway"])


@pytest.mark.parametrize("station", STATIONS)
def test_the_gateway_passes_the_fleet_api_alone(plant: ContainerPlant, station: str) -> None:
    answers = json.loads(
        plant.python(
            station,
            "import json\n"
            "from pathlib import Path\n"
            "from common.plant.keys.station_keys import read_station_key, sent_key\n"
            "from common.plant.preflight.connection import Line, resolve, trusting\n"
            "own = Path('/run/secrets')\n"
            "show = trusting(own / 'ca.crt', own / 'station.pem')\n"
            "inner = trusting(own / 'ca.crt')\n"
            "line = Line(resolve('gateway', 9443), 'gateway', show, 20, inner)\n"
            "key = sent_key(read_station_key(own / 'station.key').public_key())\n"
            "answers = {}\n"
            "for path in ('/v1/control/list-runs', '/v1/control/start-run', '/v1/runtime/',\n"
            "        '/v1/runtime/pull-app-inputs', '/v1/fleet/../control/list-runs', '/',\n"
            "        '/health', '/v1/fleet/pull-messages'):\n"
            "    method = 'GET' if path == '/health' else 'POST'\n"
            "    answers[path] = line.ask(method, path, {'flwr-public-key': key}).status\n"
            "print(json.dumps(answers))",
        )
    )

    assert answers.pop("/health") == 200
    fleet = answers.pop("/v1/fleet/pull-messages")
    assert fleet not in (200, 403), "it must come from the SuperLink, which wants a signature"
    assert set(answers.values()) == {403}, answers


def test_the_run_is_that_of_a_simulation_in_the_same_image(
    plant: ContainerPlant, finished: Path, tmp_path: Path
) -> None:
    out = plant.home / "simulated"
    out.mkdir()
    owner = (plant.home / "runs").stat()
    os.chown(out, owner.st_uid, owner.st_gid)
    in_image = [
        *("docker", "run", "--rm", "--init", "--network=none", "--read-only", "--shm-size=512m"),
        *("--tmpfs=/tmp:size=2g", "--cap-drop=ALL", f"--user={owner.st_uid}:{owner.st_gid}"),
        *("--env=OMP_NUM_THREADS=1", f"--name={plant.project}-simulation"),
        *(f"--volume={out}:/out", plant.image),
    ]
    federate = [word for one in SETTINGS for word in ("--set", one)]
    started = time.monotonic()
    try:
        _succeed([*in_image, "synth", "/out/data", f"--images={IMAGES}", f"--size={SIZE}"])
        _succeed([*in_image, "federate", "/out/data", "--out", "/out/run", *federate])
    finally:
        subprocess.run(
            ["docker", "rm", "--force", f"{plant.project}-simulation"],
            capture_output=True,
            check=False,
        )
    print(f"\nsimulation in the image: {time.monotonic() - started:.0f} s")
    real, simulated = metrics_of(finished), metrics_of(out / "run")

    assert sorted(real) == sorted(simulated)
    assert len(real) == 6
    here, there = numbers_in(real), numbers_in(simulated)
    assert sorted(here) == sorted(there)
    far_off = {
        place: (value, there[place])
        for place, value in here.items()
        if value != there[place]
        and not (isinstance(value, float) and abs(value - there[place]) <= 1e-9)
    }
    assert not far_off
    assert any(isinstance(value, float) and 0 < value < 1 for value in here.values())
    run = json.loads((finished / "run.json").read_text())
    assert run["status"] == "completed"
    assert run["summary"] == "used 5 of 5"
    assert [station["name"] for station in run["stations"]] == sorted(STATIONS)
    _state_difference_to_this_machine(out / "data", tmp_path / "run", real, run["versions"])


def _succeed(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, check=False, env=environment
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def _state_difference_to_this_machine(
    data: Path, out: Path, real: dict[str, object], versions: dict[str, str]
) -> None:
    """The same run by this machine's packages; other versions may round otherwise."""
    command = [str(Path(sys.executable).parent / "fedpatchcore"), "federate", str(data)]
    federate = [word for one in SETTINGS for word in ("--set", one)]
    _succeed(
        [*command, "--out", str(out), "--set", "device=cpu", *federate],
        {**os.environ, "OMP_NUM_THREADS": "1"},
    )
    here, there = numbers_in(metrics_of(out)), numbers_in(real)
    assert set(here) == set(there)
    differences = {
        place: abs(value - there[place])
        for place, value in here.items()
        if isinstance(value, float) and isinstance(there[place], float)
    }
    worst = max(differences, key=lambda place: differences[place])
    ours = json.loads((out / "run.json").read_text())["versions"]
    print(f"\nimage {versions}\nthis machine {ours}")
    print(f"largest difference of any metric: {differences[worst]:.3g} ({worst})")


def test_a_run_goes_on_without_a_station_cut_off_and_one_killed(
    plant: ContainerPlant, finished: Path
) -> None:
    cut_off, killed = "clip-inspection", "fastener-station"
    settings = " ".join([*SETTINGS[:-1], "seed=8", "min-stations=3", "round-timeout=300"])
    with plant.running(settings) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "build their banks" in line:
                break
        plant.network(cut_off).disconnect(plant.container(cut_off))
        plant.container(killed).kill()
        said.append(process.stdout.read())
        exit_code = process.wait(30)
    printed = "".join(said)
    assert exit_code == 0, printed + plant.last_lines()
    run = json.loads((run_folder(printed, plant) / "run.json").read_text())

    assert run["status"] == "completed"
    assert run["summary"].startswith("used 3 of 5")
    assert cut_off in run["summary"]
    assert killed in run["summary"]
    statuses = {station["name"]: station["status"] for station in run["stations"]}
    lost = {name: statuses.pop(name) for name in (cut_off, killed)}
    assert set(lost.values()) <= {"failed", "missing"}, lost
    assert set(statuses.values()) == {"used"}
    reasons = [s["reason"] for s in run["stations"] if s["name"] in (cut_off, killed)]
    assert all(reasons)

    plant.network(cut_off).connect(plant.container(cut_off), aliases=[cut_off])
    plant.container(killed).start()
    # A container's health lags behind by some checks: the SuperLink's own word counts.
    wait_until("all stations online again", lambda: _online(plant) == set(STATIONS), 300)
    for station in STATIONS:
        wait_until(
            f"{station} healthy", lambda station=station: plant.health(station) == "healthy", 120
        )


def _online(plant: ContainerPlant) -> set[str]:
    """Stations that the SuperLink has in contact, by the table of `plant status`."""
    rows = [[cell.strip() for cell in line.split("│")] for line in plant.status().splitlines()]
    return {row[1] for row in rows if len(row) > 2 and row[2] == "online"}


def test_up_and_down_may_be_repeated(plant: ContainerPlant) -> None:
    before = {name: plant.container(name).id for name in SERVICES}
    key = (plant.home / "keys/server/superlink.key").read_bytes()

    plant.make("up", 300)

    assert {name: plant.container(name).id for name in SERVICES} == before

    plant.make("down", 120)

    label = f"com.docker.compose.project={plant.project}"
    assert plant.engine.containers.list(all=True, filters={"label": label}) == []
    kept = {volume.name for volume in plant.engine.volumes.list(filters={"label": label})}
    of_stations = {f"{kind}-{name}" for kind in ("cache", "models") for name in STATIONS}
    assert kept >= {f"{plant.project}_{name}" for name in (*of_stations, "superlink-state")}
    assert (plant.home / "keys/server/superlink.key").read_bytes() == key
