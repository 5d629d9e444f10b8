"""A secured plant of real processes on loopback, started as `deploy/README.md` says."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from gateway_cases import need_nginx
from local_grid import Finished
from processes import MARK, end, free_port, marked, started, wait_for

from common.cli.main import run as run_command
from common.data.layout import index_data
from common.data.partition import make_partition
from common.data.split import lay_out
from common.patchcore.network.weights import expected_shapes, random_state
from common.paths import locked
from common.runs.processes import children_of

TOOLS = Path(sys.executable).parent
STATIONS = ("assembly", "clips", "quality")
"""In the order of the simulation's station-0, station-1, station-2."""
SMALL = {
    "backbone": "resnet18",
    "coreset-projection": 16,
    "global-bank-size": 200,
    "local-coreset-ratio": 0.5,
    "num-workers": 1,
    "device": "cpu",
}
"""A network and a bank that take milliseconds, as `local_grid.small_settings` has them."""


@dataclass
class SecurePlant:
    """What runs, where it writes, and the commands of its administrator."""

    folder: Path
    data: Path
    environment: dict[str, str]
    stack: contextlib.ExitStack
    superlink_port: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def server_keys(self) -> Path:
        return self.folder / "keys" / "server"

    @property
    def superlink(self) -> str:
        return f"127.0.0.1:{self.superlink_port}"

    @property
    def gateway(self) -> str:
        return f"127.0.0.1:{self.gateway_port}"

    @property
    def weights(self) -> Path:
        return self.folder / "weights.pth"

    def log(self, name: str) -> str:
        """What a process has printed, all its lives."""
        files = sorted(
            self.folder.glob(f"{name}.*.log"), key=lambda path: int(path.suffixes[0][1:])
        )
        return "".join(path.read_text(errors="replace") for path in files)

    def command(self, *words: str, code: int = 0) -> str:
        """One `fedpatchcore` command to its end; returns all that it printed.

        In this process, where all that it needs is imported: what `fedpatchcore` starts for good
        are processes of their own.
        """
        said = io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            found = run_command(list(words))
        assert found == code, (words, found, said.getvalue())
        return said.getvalue()

    def administer(self, verb: str, *words: str, code: int = 0) -> str:
        return self.command("plant", verb, *self.access, *words, code=code)

    @property
    def access(self) -> tuple[str, ...]:
        return "--keys", str(self.server_keys), "--superlink", self.superlink

    def start(self, name: str, *words: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a program under a name; its output goes to a file of its own."""
        life = len(list(self.folder.glob(f"{name}.*.log"))) + 1
        log = self.folder / f"{name}.{life}.log"
        process = self.stack.enter_context(started(list(words), log, {**self.environment, **more}))
        self.running[name] = process
        return process

    def fedpatchcore(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        return self.start(name, str(TOOLS / "fedpatchcore"), *words)

    def flower(self, name: str, program: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a program of Flower's itself, as somebody would who does not belong here."""
        path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
        home = str(self.folder / f"{name}-home")
        return self.start(name, str(TOOLS / program), *words, PATH=path, FLWR_HOME=home)

    def start_superlink(self) -> None:
        self.fedpatchcore(
            "superlink",
            *("plant", "superlink", "--keys", str(self.server_keys)),
            *("--state", str(self.folder / "state"), "--port", str(self.superlink_port)),
        )

    def start_server(self) -> None:
        """SuperLink, executor and gateway, in an order in which none finds the one before it."""
        self.start_executor()
        self.start_gateway()
        self.start_superlink()
        wait_for("the SuperLink", lambda: "startup complete" in self.log("superlink"), 120)

    def start_executor(self, *words: str) -> None:
        """The executor, with further options."""
        runs = ("--runs", str(self.folder / "runs"))
        self.fedpatchcore("executor", "plant", "executor", *self.access, *runs, *words)

    def start_gateway(self) -> None:
        keys = ("--keys", str(self.folder / "keys" / "gateway"), "--superlink", self.superlink)
        here = ("--host", "127.0.0.1", "--port", str(self.gateway_port))
        self.fedpatchcore("gateway", "plant", "gateway", *keys, *here)

    def cache(self, station: str) -> Path:
        return self.folder / "caches" / station

    def write_station_file(self, station: str, /, **changes: str) -> Path:
        """A station's settings; `changes` of `station`, `cache` and its files make them wrong.

        `trusted` is the text of its `trusted-app`.
        """
        own = self.folder / "keys" / "stations" / station
        path = self.folder / f"{changes.get('cache', station)}.toml"
        path.write_text(
            f'station = "{changes.get("station", station)}"\n'
            f'data-root = "{self.folder / "images" / station}"\n'
            f'cache-dir = "{self.cache(changes.get("cache", station))}"\n'
            f'weights = "{self.weights}"\n'
            f"trusted-app = {changes.get('trusted', json.dumps('installed'))}\n"
            "[server]\n"
            f'address = "{self.gateway}"\n'
            f'ca = "{changes.get("ca", own / "ca.crt")}"\n'
            f'key = "{changes.get("key", own / "station.key")}"\n'
            f'certificate = "{changes.get("certificate", own / "station.pem")}"\n'
            f'app-key = "{changes.get("app_key", own / "app.pub")}"\n'
        )
        return path

    def start_station(self, station: str, /, **changes: str) -> None:
        name = changes.get("cache", station)
        (self.cache(name) / "alive").unlink(missing_ok=True)
        self.fedpatchcore(
            name, "plant", "station", str(self.write_station_file(station, **changes))
        )

    def wait_until_served(self, *stations: str, seconds: float = 300) -> None:
        for station in stations:
            alive = self.cache(station) / "alive"
            wait_for(f"{station} to be served", alive.exists, seconds)

    @contextlib.contextmanager
    def held(self, station: str, run_id: str) -> Iterator[None]:
        """Let a station's work for a run wait until this ends; its SuperNode lives on meanwhile.

        It takes the very lock that the station's own processes take, one after the other.
        """
        folder = self.cache(station) / "runs" / f"{run_id}-{station}"
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            yield

    def building(self, station: str, run_id: str) -> bool:
        """Whether a station has been asked for its coreset of this run."""
        lines = self.log(station).splitlines()
        return any(
            f"[RUN {run_id}]" in run and "train message" in asked
            for run, asked in itertools.pairwise(lines)
        )

    def submit(self, *changes: str, resume: str = "") -> Submitted:
        """Start `plant run` and return when the SuperLink has taken the run."""
        words = [f"--set={key}={value}" for key, value in SMALL.items()]
        words = [f"--resume={resume}"] if resume else words
        words += [f"--set={change}" for change in changes]
        name = f"run-{uuid.uuid4().hex[:6]}"
        runs = ("--runs", str(self.folder / "runs"))
        process = self.fedpatchcore(name, "plant", "run", *self.access, *runs, *words)
        pattern = re.compile(r"Run (\d+) submitted")

        def taken() -> bool:
            assert process.poll() is None, self.log(name)
            return pattern.search(self.log(name)) is not None

        wait_for("the SuperLink to take the run", taken, 180)
        found = pattern.search(self.log(name))
        assert found is not None
        return Submitted(self, found[1], name, process)

    def kill(self, name: str) -> None:
        """As a power cut: all that a process started, then itself, with no time for a goodbye."""
        process = self.running.pop(name)
        for pid in reversed(_family(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end(process, signal.SIGKILL)

    def record(self, run_id: str) -> dict[str, Any]:
        """A run's `run.json` as it is by now; empty before its first second."""
        path = self.folder / "runs" / run_id / "run.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def ended(self, run_id: str) -> bool:
        return self.record(run_id).get("status", "running") != "running"

    def stop(self, name: str) -> None:
        end(self.running.pop(name))


@dataclass
class Submitted:
    """A run that `plant run` follows."""

    plant: SecurePlant
    run_id: str
    name: str
    process: subprocess.Popen[bytes]

    @property
    def output(self) -> str:
        return self.plant.log(self.name)

    def wait(self, seconds: float = 600) -> int:
        """Wait for the end of the command and return its exit code."""
        return self.process.wait(seconds)

    def finished(self, code: int = 0) -> Finished:
        """Wait, then read the run's files."""
        found = self.wait()
        assert found == code, (self.output, self.plant.log("executor")[-3000:])
        return Finished(self.plant.folder / "runs" / self.run_id)


def _family(pid: int) -> list[int]:
    """A process and its descendants, parents first."""
    found = [pid]
    for parent in found:
        found += sorted(children_of(parent))
    return found


@contextlib.contextmanager
def secure_plant(folder: Path, tiny_data: Path) -> Iterator[SecurePlant]:
    """Keys, server, gateway and three stations that are served; all ended at last."""
    need_nginx()
    mark = uuid.uuid4().hex
    environment = {
        **{name: value for name, value in os.environ.items() if name != "FEDPATCHCORE_RUNS"},
        MARK: mark,
        # As in a container: no home that could be written to.
        "HOME": "/dev/null/home",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "PYTHONUNBUFFERED": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    torch.save(
        random_state(expected_shapes("resnet18", ("layer2", "layer3")), 3), folder / "weights.pth"
    )
    index = index_data(tiny_data)
    parts = lay_out(index, make_partition(index.samples, "iid", 3, seed=42), folder / "parts")
    (folder / "images").mkdir()
    for name, part in zip(STATIONS, parts.values(), strict=True):
        (folder / "images" / name).symlink_to(part)
    try:
        with contextlib.ExitStack() as stack:
            plant = SecurePlant(folder, tiny_data, environment, stack)
            plant.command("keys", "keys", *(f"--station={name}" for name in STATIONS))
            plant.start_server()
            plant.administer("register")
            for name in STATIONS:
                plant.start_station(name)
            plant.wait_until_served(*STATIONS)
            yield plant
            # All at once: each takes seconds for its goodbye.
            for process in plant.running.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
    finally:
        # A station's ClientApp may be a session of its own: nothing at all may be left.
        wait_for("the end of all processes", lambda: not marked(mark), 30)
