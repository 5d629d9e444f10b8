"""One federated run through Flower's own commands, in simulation on this machine.

A private SuperLink is started for the run and stopped after it: the one that `flwr run` keeps for
itself would outlive the command, with the environment and folder of whoever came first.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.config import PATH_KEYS, Settings
from common.errors import InputError, RunError
from common.paths import path_text
from common.runs.flower_run import Flwr, Listener, longest_run
from common.runs.processes import flower_environment, free_ports, session, tool
from common.system.cpus import usable_cpus
from common.system.files import temporary_folder

CONNECTION: Final = "private"
START_SECONDS: Final = 60.0
_LONGEST_RAY_FOLDER: Final = 40


@dataclass(frozen=True)
class FlowerHome:
    """A running SuperLink of our own and the `flwr` that finds it."""

    flwr: Flwr

    @property
    def log_file(self) -> Path:
        """What the SuperLink and the apps below it printed."""
        return self.flwr.folder / "superlink.log"


def run_simulation(settings: Settings, on_step: Listener | None = None) -> Path:
    """Run the app in simulation, wait for its end, and fail if it failed.

    Parameters
    ----------
    settings : Settings
        `num_stations` simulated stations; `output_dir` is where the run is written.
    on_step : callable (line), optional
        Gets every line that the server logs about its progress.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    RunError
        If Flower could not start the run, it failed, or it took longer than its own deadlines
        allow; with the reason that the server gave.
    """
    settings = settings.absolute()
    for key in (*PATH_KEYS, "weights"):
        path = str(settings.to_run_config()[key])
        if path != path_text(path):
            found = f"setting {key}: found {path_text(path)}, expected a path that is UTF-8 text"
            raise InputError(f"{found}, which Flower can be told; rename it")
    until = time.monotonic() + longest_run(settings)
    with _superlink() as home:
        federation = _federation(settings.num_stations, settings.device)
        run_id = home.flwr.submit(settings, f"--federation-config={federation}")
        last = home.flwr.follow(run_id, until, on_step)
        status, details = home.flwr.wait_for_end(run_id, until)
        if not status.startswith("finished:completed"):
            raise RunError(f"the Flower run ended as {status}: {last or details or _tail(home)}")
    return Path(settings.output_dir)


@contextlib.contextmanager
def _superlink() -> Iterator[FlowerHome]:
    with temporary_folder("fpc-") as folder:
        yield from _superlink_in(folder)


def _superlink_in(folder: Path) -> Iterator[FlowerHome]:
    port, control = free_ports(2)
    environment = {
        **flower_environment(folder),
        "RAY_DEDUP_LOGS": "0",
        # Ray's spare processes: Flower's actors have an environment of their own, so none is used.
        "RAY_prestart_worker_first_driver": "0",
        # Ray's own leftovers go with the folder, where its socket names still fit into it.
        **({"RAY_TMPDIR": str(folder)} if len(str(folder)) <= _LONGEST_RAY_FOLDER else {}),
    }
    home = FlowerHome(Flwr(folder, environment, CONNECTION))
    home.flwr.write_connection(f"127.0.0.1:{port}", None)
    command = [
        tool("flower-superlink"),
        "--insecure",
        "--simulation",
        "--isolation=subprocess",
        "--host=127.0.0.1",
        f"--port={port}",
        f"--control-api-address=127.0.0.1:{control}",
        "--disable-runtime-dependency-installation",
    ]
    with session(command, environment, folder, home.log_file) as process:
        _wait_until_healthy(process, port, home)
        yield home


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, home: FlowerHome) -> None:
    # A plant's network has a proxy, which knows nothing of this machine's own ports.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError):
            direct.open(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return
        time.sleep(0.2)
    raise RunError(f"Flower's SuperLink did not start within {START_SECONDS:.0f} s: {_tail(home)}")


def _federation(stations: int, device: str) -> str:
    """How many stations, and how many of them work at once on this machine."""
    cores = usable_cpus()
    actors = min(cores, stations)
    each = cores // actors
    words = [
        f"num-supernodes={stations}",
        f"client-resources-num-cpus={each}",
        f"init-args-num-cpus={each * actors}",
    ]
    if device != "cpu":
        import torch  # takes a second, which CPU runs need not pay

        if torch.cuda.is_available():
            words += [f"client-resources-num-gpus={1 / actors:.4f}", "init-args-num-gpus=1"]
    return " ".join(words)


def _tail(home: FlowerHome) -> str:
    text = home.log_file.read_text(encoding="utf-8", errors="replace") if home.log_file else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it printed nothing"
