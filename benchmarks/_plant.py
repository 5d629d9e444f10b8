"""A real plant on this machine for a benchmark: started, watched, and ended whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.runs.processes import free_ports

TOOL = str(Path(sys.executable).parent / "fedpatchcore")
MARK, ROLE = "FEDPATCHCORE_BENCH_MARK", "FEDPATCHCORE_BENCH_ROLE"


class Memory:
    """Watches the peak resident memory of all marked processes."""

    def __init__(self, mark: str) -> None:
        self.peaks: dict[str, float] = {}
        self.together = 0.0
        self._mark = f"{MARK}={mark}".encode()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            now = 0.0
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit():
                    with contextlib.suppress(OSError, StopIteration):
                        now += self._look(folder)
            self.together = max(self.together, now)

    def _look(self, folder: Path) -> float:
        words = (folder / "environ").read_bytes().split(b"\0")
        if self._mark not in words:
            return 0.0
        role = next(w for w in words if w.startswith(ROLE.encode())).decode().partition("=")[2]
        status = dict(
            line.split(":", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":" in line
        )
        if "VmHWM" not in status:
            return 0.0  # it is ending
        name = f"{role}: {_program((folder / 'cmdline').read_bytes())}"
        peak, now = (int(status[key].split()[0]) * 1024 / 1e6 for key in ("VmHWM", "VmRSS"))
        self.peaks[name] = max(self.peaks.get(name, 0.0), peak)
        return now


def _program(cmdline: bytes) -> str:
    """Name a process by its program rather than by the interpreter."""
    words = [Path(word).name for word in cmdline.decode(errors="replace").split("\0") if word]
    for word in words:
        if word.startswith(("flower-", "flwr-", "fedpatchcore")):
            return word
    return words[0] if words else "?"


@contextlib.contextmanager
def running(role: str, environment: dict[str, str], folder: Path, *words: str) -> Iterator[None]:
    """Run a command of ours in a session of its own, and end all of it."""
    with (folder / f"{role}.log").open("wb") as log:
        process = subprocess.Popen(
            [TOOL, *words],
            env={**environment, ROLE: role},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        for way in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, way)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
                break


def command(environment: dict[str, str], folder: Path, *words: str, seconds: float = 120) -> str:
    done = subprocess.run(
        [TOOL, *words],
        env={**environment, ROLE: "administration"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def run_plant(
    folder: Path,
    images: Mapping[str, Path],
    settings: Mapping[str, Any],
    seconds: float,
    station_settings: Iterable[str] = (),
) -> dict[str, Any]:
    """Start a plant, make one run and end the plant.

    Keys, TLS, a SuperLink with its database, an executor, the gateway, a SuperNode behind its relay
    for every station, the program's own ServerApp and ClientApp.

    Parameters
    ----------
    folder : Path
        Of the keys, logs, caches and runs. Caches of an earlier plant are used again.
    images : mapping of station to data folder
    settings : mapping
        Of the run.
    seconds : float
        Until the command that follows the run gives up.
    station_settings : iterable of str
        Further lines of every station's file.

    Returns
    -------
    dict
        `summary`, `seconds`, `stations` (bytes and rows), `global_rows`, `metrics` of the run; peak
        memory of every process; bytes of the SuperLink's database.
    """
    # A run that was ended is in the SuperLink's database still, and would go on beside the new one.
    shutil.rmtree(folder / "state", ignore_errors=True)
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark, "FEDPATCHCORE_CACHE": str(folder / "cache")}
    superlink, gateway = free_ports(2)
    if not (folder / "keys").exists():
        names = [word for station in images for word in ("--station", station)]
        command(environment, folder, "keys", "keys", *names)
    for station, data in images.items():
        keys = folder / "keys" / "stations" / station
        lines = [
            f'station = "{station}"',
            f'data-root = "{data}"',
            f'cache-dir = "{folder / "caches" / station}"',
            *station_settings,
            "[server]",
            f'address = "127.0.0.1:{gateway}"',
            f'ca = "{keys / "ca.crt"}"',
            f'key = "{keys / "station.key"}"',
            f'certificate = "{keys / "station.pem"}"',
            f'app-key = "{keys / "app.pub"}"',
        ]
        (folder / f"{station}.toml").write_text("\n".join(lines) + "\n")
    server, link = str(folder / "keys" / "server"), f"127.0.0.1:{superlink}"
    access = ("--keys", server, "--superlink", link)
    runs = ("--runs", str(folder / "runs"))
    before = set((folder / "runs").glob("*/run.json"))
    memory = Memory(mark)
    with contextlib.ExitStack() as stack:

        def start(role: str, *words: str) -> None:
            stack.enter_context(running(role, environment, folder, "plant", *words))

        state = ("--state", str(folder / "state"), "--port", str(superlink))
        start("superlink", "superlink", "--keys", server, *state)
        start("executor", "executor", *access, *runs)
        here = ("--host", "127.0.0.1", "--port", str(gateway))
        gateway_keys = ("--keys", str(folder / "keys" / "gateway"), "--superlink", link)
        start("gateway", "gateway", *gateway_keys, *here)
        wait_for(lambda: b"startup complete" in (folder / "superlink.log").read_bytes())
        command(environment, folder, "plant", "register", *access)
        for station in images:
            start(station, "station", str(folder / f"{station}.toml"))
        pairs = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command(environment, folder, "plant", "run", *access, *runs, *pairs, seconds=seconds)
    memory.stop()
    (done,) = set((folder / "runs").glob("*/run.json")) - before
    run = json.loads(done.read_text())
    told = json.loads((done.parent / "contributions.json").read_text())["stations"]
    database = [f.stat().st_size for f in (folder / "state").rglob("*") if f.is_file()]
    return {
        "settings": dict(settings),
        "summary": run["summary"],
        "seconds": run["seconds"],
        "stations": [
            {
                "name": station["name"],
                "status": station["status"],
                "megabytes_up": station["bytes_up"] / 1e6,
                "megabytes_down": station["bytes_down"] / 1e6,
                "contribution": next((t for t in told if t["name"] == station["name"]), None),
            }
            for station in run["stations"]
        ],
        "global_rows": run["bank"]["rows"],
        "peak_megabytes": dict(sorted(memory.peaks.items())),
        "peak_megabytes_together": memory.together,
        "database_megabytes": sum(database) / 1e6,
        "metrics": {
            path.parent.name: json.loads(path.read_text())
            for path in sorted(done.parent.glob("evaluation/metrics/*/*/metrics.json"))
        },
    }


def wait_for(done: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until the SuperLink has started."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"the SuperLink did not start within {seconds:.0f} s")
        time.sleep(0.5)


def show_logs(folder: Path) -> None:
    """Print the end of every process's log, when something has failed."""
    for log in sorted(folder.glob("*.log")):
        print(f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)


def end_when_told() -> None:
    """End what was started even if this program is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
