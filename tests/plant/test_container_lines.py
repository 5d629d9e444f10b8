"""The services at the line in containers: each by the model that its own station was sent."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
from container_plant import STATIONS, ContainerPlant, wait_until
from safetensors.numpy import load_file

pytestmark = [pytest.mark.docker, pytest.mark.plant]

LINES = {"engine-assembly": 8601, "clip-inspection": 8604}
"""Two of the five, for a machine of two cores."""
ROWS = (
    "import hashlib, json, sys\n"
    "from safetensors.numpy import load_file\n"
    "print(json.dumps({name: hashlib.sha256(rows.tobytes()).hexdigest()\n"
    "    for name, rows in load_file(sys.argv[1]).items()}))"
)
ASK = (
    "import ssl, sys, json, urllib.request, urllib.error\n"
    "trust = ssl.create_default_context(cafile='/keys/ca.crt')\n"
    "def ask(path, token=None, body=None, kind='application/json'):\n"
    "    request = urllib.request.Request(f'https://127.0.0.1:{port}{path}', body)\n"
    "    if token: request.add_header('Authorization', f'Bearer {token}')\n"
    "    if body is not None: request.add_header('Content-Type', kind)\n"
    "    try:\n"
    "        with urllib.request.urlopen(request, timeout=60, context=trust) as answer:\n"
    "            return answer.status, json.load(answer)\n"
    "    except urllib.error.HTTPError as error:\n"
    "        return error.code, json.load(error)\n"
)


@pytest.fixture(scope="module")
def tokens(plant: ContainerPlant, finished: Path) -> dict[str, str]:
    """The services, started as a user starts them; their tokens of the role line."""
    printed = plant.make("line", 400, f"S={' '.join(LINES)}")
    return dict(
        re.findall(r"^(\S+): a token of the role line, told this once: (\S+)$", printed, re.M)
    )


def active(plant: ContainerPlant, service: str) -> dict[str, str]:
    code, output = plant.container(service).exec_run(
        ["fedpatchcore", "models", "/etc/fedpatchcore/station.toml", "--json"]
    )
    assert code == 0, output
    told = json.loads(output)
    (found,) = [one for one in told["versions"] if one["state"] == "active"]
    return found


@pytest.mark.parametrize("station", STATIONS)
def test_every_station_has_the_run_s_model(
    plant: ContainerPlant, finished: Path, station: str
) -> None:
    run = json.loads((finished / "run.json").read_text())
    (told,) = [one["delivery"] for one in run["stations"] if one["name"] == station]
    assert (told["state"], told["accepted"]) == ("active", True), told
    version = active(plant, station)
    assert version["name"] == version["run_id"] == finished.name
    assert version["sha256"] == told["model_sha256"]
    place = f"/var/lib/fedpatchcore-models/{finished.name}/bank.safetensors"
    code, output = plant.container(station).exec_run(["python", "-c", ROWS, place])
    assert code == 0, output
    rows = json.loads(output)
    whole = {
        name: hashlib.sha256(rows.tobytes()).hexdigest()
        for name, rows in load_file(finished / "model" / "bank.safetensors").items()
    }
    assert rows
    assert {name: whole[name] for name in rows} == rows


def test_a_line_judges_by_its_station_s_model(
    plant: ContainerPlant, finished: Path, tokens: dict[str, str]
) -> None:
    assert set(tokens) == set(LINES)
    for station, port in LINES.items():
        (part, *_) = sorted(
            path.name for path in (plant.home / "data" / station).iterdir() if path.is_dir()
        )
        image = sorted((plant.home / "data" / station / part).rglob("test/good/*.png"))[0]
        hexed = image.read_bytes().hex()
        code = (
            f"port, token = {port}, {tokens[station]!r}\n{ASK}"
            f"image = bytes.fromhex({hexed!r})\n"
            "head = b'--x\\r\\nContent-Disposition: form-data; name='\n"
            f"body = (head + b'\"category\"\\r\\n\\r\\n{part}\\r\\n' + head\n"
            "    + b'\"image\"; filename=\"a.png\"\\r\\n\\r\\n' + image + b'\\r\\n--x--\\r\\n')\n"
            "form = 'multipart/form-data; boundary=x'\n"
            "print(json.dumps({'health': ask('/health'),\n"
            "    'stranger': ask('/api/v1/parts', None, body, form)[0],\n"
            "    'part': ask('/api/v1/parts', token, body, form),\n"
            "    'switch': ask(f'/api/v1/models/x/activate', token, b'{}')[0]}))"
        )
        answers = json.loads(plant.python(f"line-{station}", code))
        assert answers["health"] == [200, {"status": "ok"}]
        assert answers["stranger"] == 401
        assert answers["switch"] == 403  # of a role line
        status, entry = answers["part"]
        assert status == 200, entry
        version = active(plant, station)
        assert entry["model"] == {"run_id": finished.name, "sha256": version["sha256"]}
        assert active(plant, f"line-{station}")["sha256"] == version["sha256"]


@pytest.mark.parametrize("station", LINES)
def test_a_line_sees_the_models_of_its_station_alone(
    plant: ContainerPlant, tokens: dict[str, str], station: str
) -> None:
    told = json.loads(
        plant.python(
            f"line-{station}",
            "import json, os, pathlib\n"
            "def writes(place):\n"
            "    try:\n"
            "        open(place + '/x', 'w').close()\n"
            "    except OSError as error:\n"
            "        return error.strerror\n"
            "    os.remove(place + '/x')\n"
            "    return 'yes'\n"
            "status = dict(l.split(':', 1) for l in open('/proc/1/status') if ':' in l)\n"
            "print(json.dumps({'uid': os.getuid(), 'CapEff': status['CapEff'].strip(),\n"
            "    'NoNewPrivs': status['NoNewPrivs'].strip(),\n"
            "    'keys': sorted(p.name for p in pathlib.Path('/run/secrets').iterdir()),\n"
            "    'data': os.path.exists('/data'), 'cache': os.listdir('/var/cache/fedpatchcore'),\n"
            "    'models': writes('/var/lib/fedpatchcore-models'), 'root': writes('/etc'),\n"
            "    'journal': writes('/var/lib/fedpatchcore/journal')}))",
        )
    )
    host = plant.container(f"line-{station}").attrs["HostConfig"]

    assert told["uid"] != 0
    assert int(told["CapEff"], 16) == 0
    assert told["NoNewPrivs"] == "1"
    assert told["keys"] == ["line.crt", "line.key", "station.key", "tokens.json"]
    assert (told["data"], told["cache"]) == (False, [])
    assert told["models"] == told["root"] == "Read-only file system"
    assert told["journal"] == "yes"
    assert host["ReadonlyRootfs"]
    assert host["Memory"] > 0
    mounts = plant.container(f"line-{station}").attrs["Mounts"]
    names = {mount.get("Name", "").removeprefix(f"{plant.project}_") for mount in mounts}
    assert names - {""} == {f"models-{station}", f"journal-{station}"}


def test_no_station_reaches_a_line_and_no_line_anything(
    plant: ContainerPlant, tokens: dict[str, str]
) -> None:
    lines = {
        f"line-{name}": (plant.address(f"line-{name}", f"line-{name}"), port)
        for name, port in LINES.items()
    }
    others = {
        "superlink": (plant.address("superlink", "administration"), 8000),
        "gateway": (plant.address("gateway", "administration"), 9443),
        "the internet": ("1.1.1.1", 443),
        **{name: (plant.address("gateway", name), 9443) for name in STATIONS},
    }
    for service in (*STATIONS, *lines):
        wanted = lines if service in STATIONS else {**lines, **others}
        reached = plant.reached(service, wanted)
        own = reached.pop(service, None)
        assert own == ("connected" if service in lines else None)
        assert set(reached.values()) <= {"timed out", "Network is unreachable"}, (service, reached)


def test_its_published_port_is_this_machine_s(
    plant: ContainerPlant, tokens: dict[str, str]
) -> None:
    trust = ssl.create_default_context(cafile=str(plant.home / "keys" / "ca.crt"))
    for name, port in LINES.items():
        bound = plant.container(f"line-{name}").attrs["HostConfig"]["PortBindings"]
        assert bound == {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
        url = f"https://127.0.0.1:{port}/health"
        answer = httpx.get(url, verify=trust, timeout=30, trust_env=False)
        assert answer.json() == {"status": "ok"}


def test_the_preflight_finds_nothing_but_a_small_disk(
    plant: ContainerPlant, tokens: dict[str, str]
) -> None:
    for name in LINES:
        _, output = plant.container(f"line-{name}").exec_run(
            ["fedpatchcore", "check", "--station", "--line", "/etc/fedpatchcore", "--json"]
        )
        told = json.loads(output)
        assert {one["kind"] for one in told["findings"]} <= {"line-disk"}, told
        assert told["facts"]["line port"].endswith(": the service is there")


def test_its_models_are_switched_at_the_station(
    plant: ContainerPlant, finished: Path, tokens: dict[str, str]
) -> None:
    """More tokens as deploy/README.md makes them; the service is started again to see them."""
    name, port = next(iter(LINES.items()))
    home = plant.home / "keys" / "services" / name
    owner = home.stat()
    done = subprocess.run(
        [
            *("docker", "run", "--rm", "--user", f"{owner.st_uid}:{owner.st_gid}"),
            *("-v", f"{home}:/out", plant.image),
            *("serve", "--new-token", "engineer", "--tokens", "/out/tokens.json"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    container = plant.container(f"line-{name}")
    container.restart(timeout=60)
    wait_until("the line again", lambda: plant.health(f"line-{name}") == "healthy", 120)
    body = json.dumps({"by": "test", "why": "to try"}).encode()
    code = (
        f"port, token = {port}, {done.stdout.strip()!r}\n{ASK}"
        f"print(json.dumps(ask('/api/v1/models/{finished.name}/activate', token, {body!r})))"
    )
    status, told = json.loads(plant.python(f"line-{name}", code))
    assert status == 409
    assert "may only read its station's models" in told["error"]
