"""A real SuperNode behind launcher, relay and gateway, and a SuperLink that fails in every way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from gateway_cases import Passing, exchange, need_nginx, post
from processes import MARK, end, free_port, marked, started, wait_for

from common.plant.keys.making import Wanted, make_keys

pytestmark = pytest.mark.flower

TOOLS = Path(sys.executable).parent
LAUNCHER = """
import logging, sys
from pathlib import Path
from common.plant.station.launcher import Timing, run_station
from common.plant.station.station_file import read_station_file
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="launcher: %(message)s")
# An idle SuperNode asks every 3 s, one in trouble every 20 s at least.
run_station(read_station_file(Path({file!r})), Timing(silent=32, tick=1, first_wait=1))
"""


@dataclass
class Plant:
    """One station's whole line to a SuperLink that may be told to fail."""

    folder: Path
    environment: dict[str, str]
    superlink_port: int
    gateway_port: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    behind: Passing | None = None

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def superlink(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        keys = self.keys / "server"
        command = [
            str(TOOLS / "flower-superlink"),
            "--host=127.0.0.1",
            f"--port={self.superlink_port}",
            f"--ssl-ca-certfile={keys / 'ca.crt'}",
            f"--ssl-certfile={keys / 'superlink.crt'}",
            f"--ssl-keyfile={keys / 'superlink.key'}",
            "--enable-supernode-auth",
            "--isolation=process",
            f"--superexec-auth-secret-file={keys / 'executor.secret'}",
            f"--database={self.folder / 'state.db'}",
            "--disable-runtime-dependency-installation",
        ]
        return started(command, self.folder / "superlink.log", self.environment)

    def flwr(self, *words: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(TOOLS / "flwr"), *words, "--format=json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "{" in done.stdout, done.stdout + done.stderr
        return json.loads(done.stdout[done.stdout.index("{") :])

    def status(self) -> str:
        (node,) = self.flwr("supernode", "list", "plant")["nodes"]
        return str(node["status"])

    async def faulty(self, scope: Any, receive: Any, send: Any) -> None:
        """Stand before the SuperLink: pass on, or answer what `faults` says for a path."""
        name = scope["path"].rpartition("/")[2]
        self.asked.append(name)
        if name in self.faults:
            await send({"type": "http.response.start", "status": self.faults[name]})
            await send({"type": "http.response.body", "body": b"injected"})
        else:
            assert self.behind is not None
            await self.behind(scope, receive, send)

    def answered(self, name: str) -> bool:
        """Whether a call of this name is asked for from now on."""
        before = self.asked.count(name)
        wait_for(f"another {name}", lambda: self.asked.count(name) > before, 40)
        return True


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    need_nginx()
    mark, home = uuid.uuid4().hex, tmp_path / "plant"
    home.mkdir()
    environment = {
        **os.environ,
        MARK: mark,
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    running = Plant(home, environment, free_port())
    make_keys(running.keys, Wanted(stations=["clips"]))
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "plant"\n\n[superlink.plant]\n'
        f'address = "127.0.0.1:{running.superlink_port}"\n'
        f'root-certificates = "{running.keys / "server" / "ca.crt"}"\n'
    )
    (home / "images").mkdir()
    with _served(running) as port, _gateway(running, port):
        (home / "station.toml").write_text(
            'station = "clips"\ndata-root = "images"\ncache-dir = "cache"\n[server]\n'
            f'address = "localhost:{running.gateway_port}"\n'
            'ca = "keys/stations/clips/ca.crt"\nkey = "keys/stations/clips/station.key"\n'
            'certificate = "keys/stations/clips/station.pem"\n'
            'app-key = "keys/stations/clips/app.pub"\n'
        )
        yield running
    wait_for("the end of all processes", lambda: not marked(mark), 30)


@contextlib.contextmanager
def _served(plant: Plant) -> Iterator[int]:
    """Run the faulty front of the SuperLink in a thread."""
    keys = plant.keys / "server"
    plant.behind = Passing(plant.superlink_port, keys / "ca.crt")
    config = uvicorn.Config(
        plant.faulty,
        interface="asgi3",
        ssl_certfile=str(keys / "superlink.crt"),
        ssl_keyfile=str(keys / "superlink.key"),
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@contextlib.contextmanager
def _gateway(plant: Plant, superlink: int) -> Iterator[None]:
    command = [str(TOOLS / "fedpatchcore"), "plant", "gateway", "--host=127.0.0.1", "--port=0"]
    command += [f"--keys={plant.keys / 'gateway'}", f"--superlink=localhost:{superlink}"]
    with started(command, plant.folder / "gateway.log", plant.environment):
        where = re.compile(r"gateway on 127\.0\.0\.1:(\d+)")
        wait_for("the gateway", lambda: where.search(plant.log("gateway")), 60)
        found = where.search(plant.log("gateway"))
        assert found
        plant.gateway_port = int(found[1])
        yield


def _post(plant: Plant, path: str) -> int:
    """What a station's machine gets if it asks for this itself."""
    asked = post(path, content_type="application/protobuf")
    return exchange(plant.keys, plant.gateway_port, asked)[0]


def test_a_station_is_served_again_after_whatever_the_server_did(plant: Plant) -> None:
    launcher = [sys.executable, "-c", LAUNCHER.format(file=str(plant.folder / "station.toml"))]
    with contextlib.ExitStack() as stack:
        # The station is first; there is no SuperLink yet.
        station = stack.enter_context(
            started(launcher, plant.folder / "station.log", plant.environment)
        )
        wait_for("a first try", lambda: "activate-node" in plant.asked, 60)
        first = stack.enter_context(plant.superlink())

        # A key that nobody has registered is refused, and tried again.
        refused = "the server refused this station's key (code 2004)"
        wait_for("the refusal", lambda: refused in plant.log("station"), 90)
        public = plant.keys / "server/stations/clips.pub"
        assert plant.flwr("supernode", "register", str(public), "plant", "--name=clips")["success"]
        taken = "the server has taken this station"
        wait_for("the station taken", lambda: taken in plant.log("station"), 90)
        assert plant.status() == "online"
        assert (plant.folder / "cache" / "alive").exists()

        # Nothing but the fleet API answers through the gateway; there, a stranger is refused.
        for path in ("/v1/control/list-runs", "/v1/runtime/acquire-task", "/v1/control/start-run"):
            assert _post(plant, path) == 403
        assert not {"list-runs", "acquire-task", "start-run"} & set(plant.asked)
        assert _post(plant, "/v1/fleet/pull-messages") == 401

        # 500 for every call: without the gateway that alone would end loop and heartbeat.
        starts = plant.log("station").count("SuperNode started")
        plant.faults |= {"pull-messages": 500, "send-node-heartbeat": 500}
        for name in plant.faults:
            assert plant.answered(name)
        plant.faults.clear()
        for name in ("pull-messages", "send-node-heartbeat"):
            assert plant.answered(name)
        assert plant.log("station").count("SuperNode started") == starts
        assert "answered 500 to POST /v1/fleet/pull-messages" in plant.log("gateway")

        # An answer that makes a real zombie: it stays up, and asks for nothing any more.
        plant.faults |= {"pull-messages": 404}
        silent, known = "the SuperNode has sent nothing for", plant.log("station").count(taken)
        assert silent not in plant.log("station")
        wait_for("the zombie found out", lambda: silent in plant.log("station"), 90)
        plant.faults.clear()
        wait_for("a new SuperNode", lambda: plant.log("station").count(taken) > known, 90)
        assert plant.status() == "online"

        # The SuperLink dies at once and starts again from its database.
        starts = plant.log("station").count("SuperNode started")
        end(first, signal.SIGKILL)
        assert plant.answered("pull-messages")
        stack.enter_context(plant.superlink())
        wait_for("the SuperLink", lambda: _post(plant, "/v1/fleet/pull-messages") == 401, 60)
        assert plant.answered("send-node-heartbeat")
        assert plant.status() == "online"
        assert plant.log("station").count("SuperNode started") == starts

        # Told to end, it says goodbye: the server knows at once.
        station.terminate()
        assert station.wait(10) == 0
        assert plant.status() == "offline"
    assert "Traceback" not in plant.log("gateway")
