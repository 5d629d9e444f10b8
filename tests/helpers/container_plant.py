"""The plant of deploy/ in containers of its own, as a user starts it, and ways into them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "plant.sh"
STATIONS = (
    "engine-assembly",
    "underbody-line",
    "fastener-station",
    "clip-inspection",
    "quality-control",
)
SERVICES = (*STATIONS, "superlink", "executor", "gateway")
IMAGES, SIZE = 6, 64
"""The drawn set: training images of a part, and their size."""

SETTINGS = (
    "backbone=resnet18",
    "weights=random",
    "global-bank-size=300",
    "local-coreset-ratio=0.5",
    "seed=42",
)
"""The seed is also that of the partition: it is the one by which the images were dealt out."""


def without_docker() -> str | None:
    """Why containers cannot be tried on this machine; None if they can."""
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except FileNotFoundError:
            return "there is no `docker` command"
        except subprocess.TimeoutExpired:
            return f"`{' '.join(command)}` gave no answer in 30 s"
        if done.returncode:
            return f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-300:]}"
    return None


@dataclass
class ContainerPlant:
    """A running plant.

    Attributes
    ----------
    project : str
        Compose's name of it, unlike any other on this machine.
    home : Path
        Its keys, data and runs.
    """

    project: str
    home: Path
    engine: docker.DockerClient

    @property
    def image(self) -> str:
        """An image of its own: this checkout as it is when the tests begin."""
        return f"{self.project}:plant"

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PLANT_PROJECT": self.project,
            "PLANT_HOME": str(self.home),
            "PLANT_IMAGE": self.image,
            "PLANT_IMAGES": str(IMAGES),
            "PLANT_SIZE": str(SIZE),
            "PLANT_STATION_CPUS": "1",
            "PLANT_STATION_THREADS": "1",
        }
        others = {name: text for name, text in os.environ.items() if not name.startswith("PLANT_")}
        return {**others, **own}

    def make(self, what: str, seconds: float, *variables: str) -> str:
        """Run one of the Makefile's targets; returns what it printed."""
        done = subprocess.run(
            ["make", "--silent", f"plant-{what}", *variables],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        told = f"make plant-{what}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, told + self.last_lines()
        return done.stdout

    def build(self, seconds: float) -> None:
        """Build the image as plant.sh does; fails with what the build printed."""
        done = subprocess.run(
            [*self._compose(), "build", "superlink"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5000:]

    @contextlib.contextmanager
    def running(self, settings: str) -> Iterator[subprocess.Popen[str]]:
        """A run that is followed from outside while other things happen to the plant."""
        process = subprocess.Popen(
            [str(SCRIPT), "run"],
            env={**self.environment, "SET": settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def container(self, service: str) -> Container:
        return self.engine.containers.get(f"{self.project}-{service}-1")

    def network(self, name: str) -> Any:
        return self.engine.networks.get(f"{self.project}_{name}")

    def address(self, service: str, network: str) -> str:
        found = self.container(service).attrs["NetworkSettings"]["Networks"]
        return str(found[f"{self.project}_{network}"]["IPAddress"])

    def python(self, service: str, code: str) -> str:
        """Run a program inside a container, as its own user; returns what it printed."""
        code_of_exit, output = self.container(service).exec_run(["python", "-c", code])
        text = output.decode(errors="replace").strip()
        assert code_of_exit == 0, f"{service}: exit {code_of_exit}: {text}"
        return text

    def reached(self, service: str, targets: dict[str, tuple[str, int]]) -> dict[str, str]:
        """What happens when a container dials each of these: `connected`, or the error."""
        told = self.python(
            service,
            "import concurrent.futures, json, socket\n"
            f"targets = {targets!r}\n"
            "def reach(address):\n"
            "    try:\n"
            "        socket.create_connection(address, 5).close()\n"
            "        return 'connected'\n"
            "    except OSError as error:\n"
            "        return error.strerror or str(error)\n"
            "with concurrent.futures.ThreadPoolExecutor(20) as pool:\n"
            "    print(json.dumps(dict(zip(targets, pool.map(reach, targets.values())))))\n",
        )
        return dict(json.loads(told))

    def health(self, service: str) -> str:
        return str(self.container(service).attrs["State"]["Health"]["Status"])

    def status(self) -> str:
        return self.make("status", 120)

    def last_lines(self) -> str:
        """What the containers printed last, for the message of a failed test."""
        lines = []
        with contextlib.suppress(docker.errors.APIError):
            for one in self.engine.containers.list(
                all=True, filters={"label": f"com.docker.compose.project={self.project}"}
            ):
                tail = one.logs(tail=15).decode(errors="replace")
                lines.append(f"--- {one.name} ({one.status})\n{tail}")
        return "\n".join(lines)

    def remove(self) -> None:
        """Stop and remove everything of this plant."""
        for command in (
            [
                *self._compose(),
                "--profile",
                "admin",
                "--profile",
                "line",
                "down",
                "--volumes",
                "--timeout",
                "5",
            ],
            ["docker", "image", "rm", self.image],
        ):
            subprocess.run(
                command, env=self.environment, capture_output=True, timeout=180, check=False
            )

    def _compose(self) -> list[str]:
        file = ROOT / "deploy" / "compose.yaml"
        return ["docker", "compose", "--project-name", self.project, "--file", str(file)]


def run_folder(printed: str, plant: ContainerPlant) -> Path:
    """The folder that a run named as the place of its files."""
    found = re.findall(r"^The run's files: (.+)$", printed, re.MULTILINE)
    assert len(found) == 1, printed
    folder = Path(found[0])
    assert folder.parent == plant.home / "runs"
    assert (folder / "run.json").is_file(), printed
    return folder


def metrics_of(folder: Path) -> dict[str, dict[str, Any]]:
    """All metrics of a run by category, without the name of the method."""
    found = {}
    for path in sorted((folder / "evaluation" / "metrics").glob("*/*/metrics.json")):
        found[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
        found[path.parent.name].pop("method", None)
    return found


def numbers_in(value: Any, place: str = "") -> dict[str, Any]:
    """Leaves of a tree of dicts and lists, by their path."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)  # type: ignore[assignment]
    else:
        return {place: value}
    return {
        key: leaf
        for name, below in pairs
        for key, leaf in numbers_in(below, f"{place}/{name}").items()
    }


def wait_until(what: str, done: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come true within {seconds:.0f} s")
        time.sleep(2.0)
