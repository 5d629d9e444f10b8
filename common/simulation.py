"""One federated run through Flower's own commands, in simulation on this machine.

A private SuperLink is started for the run and stopped after it: the one that `flwr run` keeps for
itself would outlive the command, with the environment and folder of whoever came first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.config import Settings
from common.errors import RunError
from common.processes import end_with_parent, flower_environment, free_ports, stop_session, tool

LOG_PREFIX: Final = "[fedpatchcore]"
CONNECTION: Final = "private"
START_SECONDS: Final = 60.0
COMMAND_SECONDS: Final = 120.0
EXTRA_SECONDS: Final = 600.0
_LONGEST_RAY_FOLDER: Final = 40

Listener = Callable[[str], None]


@dataclass(frozen=True)
class FlowerHome:
    """A running SuperLink of our own and the environment in which `flwr` finds it."""

    folder: Path
    environment: dict[str, str]

    @property
    def log_file(self) -> Path:
        """What the SuperLink and the apps below it printed."""
        return self.folder / "superlink.log"


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
    exchanges = 2 + 2 * settings.num_server_rounds
    until = time.monotonic() + exchanges * settings.round_timeout + EXTRA_SECONDS
    with _superlink() as home:
        config = home.folder / "run.toml"
        config.write_text(_toml(settings), encoding="utf-8")
        answer = _flwr(
            home,
            "run",
            str(app_folder()),
            CONNECTION,
            "--format=json",
            f"--run-config={config}",
            f"--federation-config={_federation(settings.num_stations, settings.device)}",
        )
        run_id = str(answer["run-id"])
        last = _follow(home, run_id, until, on_step)
        status, details = _wait_for_end(home, run_id, until)
        if not status.startswith("finished:completed"):
            raise RunError(f"the Flower run ended as {status}: {last or details or _tail(home)}")
    return Path(settings.output_dir)


def app_folder() -> Path:
    """Folder of the Flower app: the checkout that this package was installed from.

    Raises
    ------
    RunError
        If there is no `pyproject.toml` beside the packages.
    """
    folder = Path(__file__).resolve().parents[1]
    if not (folder / "pyproject.toml").is_file():
        raise RunError(
            f"{folder}: no pyproject.toml beside the packages; install with `make setup` (or "
            "`pip install -e .`) in a checkout, which Flower ships to the stations"
        )
    return folder


@contextlib.contextmanager
def _superlink() -> Iterator[FlowerHome]:
    folder = Path(tempfile.mkdtemp(prefix="fpc-"))
    port, control = free_ports(2)
    environment = {
        **flower_environment(folder),
        "RAY_DEDUP_LOGS": "0",
        # Ray's own leftovers go with the folder, where its socket names still fit into it.
        **({"RAY_TMPDIR": str(folder)} if len(str(folder)) <= _LONGEST_RAY_FOLDER else {}),
    }
    home = FlowerHome(folder, environment)
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
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
    with home.log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        _wait_until_healthy(process, port, home)
        yield home
    finally:
        stop_session(process)
        shutil.rmtree(folder, ignore_errors=True)


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


def _follow(home: FlowerHome, run_id: str, until: float, on_step: Listener | None) -> str:
    """Pass the server's own lines on while the run lasts; return the failure it told, if any."""
    process = subprocess.Popen(
        [tool("flwr"), "log", run_id, CONNECTION, "--stream"],
        env=home.environment,
        cwd=home.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent,
    )
    timer = threading.Timer(max(0.0, until - time.monotonic()), process.kill)
    timer.start()
    failure = ""
    try:
        for line in process.stdout or ():
            _, found, text = line.partition(LOG_PREFIX)
            if not found:
                continue
            text = text.strip()
            if text.startswith("failed:"):
                failure = text.removeprefix("failed:").strip()
            elif on_step is not None:
                on_step(text)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    return failure


def _wait_for_end(home: FlowerHome, run_id: str, until: float) -> tuple[str, str]:
    """Ask Flower how the run ended: exit codes of its commands do not tell."""
    while True:
        answer = _flwr(home, "list", CONNECTION, f"--run-id={run_id}", "--format=json")
        run = answer["runs"][0]
        status = str(run["status"])
        if status.startswith("finished"):
            return status, str(run.get("status-details") or "")
        if time.monotonic() > until:
            return f"{status} after its deadline", ""
        time.sleep(1.0)


def _flwr(home: FlowerHome, *words: str) -> dict[str, Any]:
    """One `flwr` command that answers in JSON."""
    command = [tool("flwr"), *words]
    try:
        done = subprocess.run(
            command,
            env=home.environment,
            cwd=home.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        start = done.stdout.index("{")
        answer: dict[str, Any] = json.loads(done.stdout[start:])
    except subprocess.TimeoutExpired as error:
        raise RunError(f"`flwr {words[0]}` gave no answer in {COMMAND_SECONDS:.0f} s") from error
    except ValueError as error:
        said = " ".join((done.stderr or done.stdout).split())[-500:]
        raise RunError(f"`flwr {words[0]}` failed (exit {done.returncode}): {said}") from error
    if not answer.get("success", True):
        raise RunError(f"`flwr {words[0]}` failed: {answer.get('error-message', answer)}")
    return answer


def _federation(stations: int, device: str) -> str:
    """How many stations, and how many of them work at once on this machine."""
    cores = len(os.sched_getaffinity(0))
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


def _toml(settings: Settings) -> str:
    """All settings as TOML; JSON's strings, numbers and booleans are TOML's too."""
    pairs = settings.to_run_config().items()
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in pairs)


def _tail(home: FlowerHome) -> str:
    text = home.log_file.read_text(encoding="utf-8", errors="replace") if home.log_file else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it printed nothing"
