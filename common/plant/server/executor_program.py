"""In the place of `flower-superexec` at the server: it starts our ServerApp program, and no other.

Flower's own would start whatever a run asks for, among it its agents and simulations, each of which
unpacks and imports the app by itself.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from flwr.common import log

from common.hooks import table
from common.hooks.lookup import replace, require, require_function
from common.plant.app.programs import SERVERAPP, become, own_program, take_trusted
from common.plant.app.trust import SERVER, Trust
from common.plant.app.unpacked import flower_home, remove_apps, remove_left
from common.plant.server import serverapp_program


def main() -> None:
    """Run an executor for apps of `--trusted-app=`; the other options are Flower's."""
    become(prepare)


def prepare() -> Callable[[], None]:
    """Put our way of starting programs in its place; return Flower's program.

    Raises
    ------
    InputError
        If Flower is not what this program was tested with, or the trusted apps are none.
    RunError
        If an app that was unpacked earlier cannot be removed.
    """
    program, loop = require_function(table.SUPEREXEC), require_function(table.SUPEREXEC_LOOP)
    result = require(table.LAUNCHED)
    require(table.SUPEREXEC_STARTS)
    # Here rather than in the middle of a run.
    serverapp_program.look_up()
    trust, home = Trust.of(take_trusted(), SERVER), flower_home()
    remove_apps(home)
    remove_left(home)
    words = own_program(SERVERAPP, trust.words)

    def starter(*_: Any, **__: Any) -> ServerApps:
        return ServerApps(words, result)

    replace(table.SUPEREXEC_STARTS, starter, loop)
    return program


class ServerApps:
    """Starts the server's part of runs, each in a process of its own; an executor as Flower's are.

    Parameters
    ----------
    words : sequence of str
        Of our program.
    result : type
        Flower's, of an attempt to start something.
    """

    def __init__(self, words: Sequence[str], result: Any) -> None:
        self._words, self._result = tuple(words), result
        self._running: list[subprocess.Popen[bytes]] = []

    def get_eligible_capacity(self, kinds: set[Any], **_: Any) -> tuple[set[Any], set[str]]:
        """Take every kind of task: one that is not ours would wait for ever otherwise."""
        return kinds, set()

    def wait_for_capacity(self, *_: Any, **__: Any) -> None:
        """Start at once: there is no limit."""

    def launch(self, spec: Any) -> Any:
        """Start one; a task of another kind fails, as Flower does with one that nobody works on."""
        if str(spec.task_type) != SERVERAPP[1]:
            said = f"{spec.task_type} is not run here: this executor runs ServerApps alone"
            log(logging.ERROR, "task %s is refused: %s", spec.task_id, said)
            return self._result.failed(said)
        words = [*self._words, f"--runtime-api-address={spec.runtime_api_address}"]
        words.append(
            "--insecure" if spec.insecure else f"--root-certificates={spec.root_certificates_path}"
        )
        words += [f"--token={spec.token}", f"--parent-pid={spec.parent_pid}"]
        self._running.append(subprocess.Popen(words, stdin=subprocess.DEVNULL))
        return self._result.accepted()

    def reconcile(self) -> None:
        """Take note of those that have ended."""
        self._running = [process for process in self._running if process.poll() is None]

    def close(self) -> None:
        """Those that run end by themselves when this process does: they watch it."""
