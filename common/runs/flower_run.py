"""A run by Flower's own `flwr` command: submitted, followed, and asked how it ended."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w

from common.config import Settings
from common.errors import RunError
from common.runs.processes import end_with_parent, tool
from common.system.ending import undone

LOG_PREFIX: Final = "[fedpatchcore]"
"""Begins the lines that our ServerApp logs for people."""
COMMAND_SECONDS: Final = 120.0
EXTRA_SECONDS: Final = 600.0
"""For waiting for stations, merging, evaluating on the server and writing."""
_ASK_AGAIN_SECONDS: Final = 2.0

Listener = Callable[[str], None]


def app_folder() -> Path:
    """Folder of the Flower app: the checkout, or its copy in an installed `fedpatchcore`.

    Raises
    ------
    RunError
        If there is no `pyproject.toml` beside the packages.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / "pyproject.toml").is_file():
        raise RunError(
            f"{folder}: no pyproject.toml beside the packages, which Flower ships to the stations "
            "with it; install with `pip install .` (or `make setup`) in a checkout"
        )
    return folder


def longest_run(settings: Settings) -> float:
    """Seconds after which a run must have ended by its own deadlines."""
    exchanges = 5 + 2 * settings.num_server_rounds  # the model's delivery may take three
    return exchanges * settings.round_timeout + EXTRA_SECONDS


@dataclass(frozen=True)
class Flwr:
    """The `flwr` command with a configuration of its own.

    Attributes
    ----------
    folder : Path
        Its `FLWR_HOME`; `write_connection` makes the configuration.
    environment : dict of str to str
    connection : str
        Name of the SuperLink in the configuration.
    """

    folder: Path
    environment: dict[str, str]
    connection: str

    def write_connection(self, address: str, root_certificates: Path | None) -> None:
        """Write the configuration: one SuperLink, with TLS if there is an authority to trust."""
        trust: dict[str, Any] = {"insecure": True}
        if root_certificates is not None:
            trust = {"root-certificates": str(root_certificates)}
        known = {"default": self.connection, self.connection: {"address": address, **trust}}
        text = tomli_w.dumps({"superlink": known})
        (self.folder / "config.toml").write_text(text, encoding="utf-8")

    def submit(self, settings: Settings, *options: str) -> str:
        """Submit a run of this app; return its id.

        Raises
        ------
        RunError
            If Flower does not take it.
        """
        config = self.folder / "run.toml"
        config.write_text(tomli_w.dumps(settings.to_run_config()), encoding="utf-8")
        answer = self.ask("run", str(app_folder()), f"--run-config={config}", *options)
        return str(answer["run-id"])

    def follow(self, run_id: str, until: float, on_step: Listener | None) -> str:
        """Pass the server's own lines on while the run lasts; return the failure it told, if any.

        Parameters
        ----------
        run_id : str
        until : float
            `time.monotonic()` at which to stop listening.
        on_step : callable (line), optional
        """

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(
                [tool("flwr"), "log", run_id, self.connection, "--stream"],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                preexec_fn=end_with_parent,
            )

        failure = ""
        with undone(start, _kill) as process:
            timer = threading.Timer(max(0.0, until - time.monotonic()), process.kill)
            timer.daemon = True
            timer.start()
            for line in process.stdout or ():
                _, found, text = line.partition(LOG_PREFIX)
                if not found:
                    continue
                text = text.strip()
                if text.startswith("failed:"):
                    failure = text.removeprefix("failed:").strip()
                elif on_step is not None:
                    on_step(text)
            timer.cancel()
        return failure

    def wait_for_end(self, run_id: str, until: float) -> tuple[str, str]:
        """Ask how the run ended, as (status, details): exit codes of `flwr` do not tell."""
        while True:
            answer = self.ask("list", f"--run-id={run_id}")
            run = answer["runs"][0]
            status = str(run["status"])
            if status.startswith("finished"):
                return status, str(run.get("status-details") or "")
            if time.monotonic() > until:
                return f"{status} after its deadline", ""
            time.sleep(_ASK_AGAIN_SECONDS)

    def ask(self, verb: str, *words: str) -> dict[str, Any]:
        """One `flwr` command that answers in JSON.

        Raises
        ------
        RunError
            If it fails or gives no answer in time, with what it said.
        """
        first, rest = ((words[0],), words[1:]) if verb == "run" else ((), words)
        command = [tool("flwr"), verb, *first, self.connection, *rest, "--format=json"]
        try:
            done = subprocess.run(
                command,
                env=self.environment,
                cwd=self.folder,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=COMMAND_SECONDS,
                check=False,
            )
            start = done.stdout.index("{")
            answer: dict[str, Any] = json.loads(done.stdout[start:])
        except subprocess.TimeoutExpired as error:
            raise RunError(f"`flwr {verb}` gave no answer in {COMMAND_SECONDS:.0f} s") from error
        except ValueError as error:
            said = " ".join((done.stderr or done.stdout).split())[-500:]
            raise RunError(f"`flwr {verb}` failed (exit {done.returncode}): {said}") from error
        if not answer.get("success", True):
            raise RunError(f"`flwr {verb}` failed: {answer.get('error-message', answer)}")
        return answer


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
