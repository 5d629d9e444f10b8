"""Flower's programs as we start them: in a Python of their own, with what we put around them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

from common.errors import FedPatchCoreError, reason
from common.plant.app.trust import OPTION
from common.runs.flower_run import app_folder

SUPERNODE: Final = ("common.plant.station.supernode_program", "flower-supernode")
EXECUTOR: Final = ("common.plant.server.executor_program", "flower-superexec")
SUPERLINK: Final = ("common.plant.server.superlink_program", "flower-superlink")
SERVERAPP: Final = ("common.plant.server.serverapp_program", "flwr-serverapp")
"""Module of ours, and the program of Flower's in whose place it runs."""
# `-P`: no module is looked for in the working folder. The first word after the code is the name
# under which Flower and its users know the program.
_CODE: Final = (
    "import sys; sys.path.insert(0, {folder!r}); del sys.argv[0]; from {module} import main; main()"
)


def own_program(
    program: tuple[str, str], trusted: str | Sequence[str] | None = None
) -> tuple[str, ...]:
    """Words that start a program of Flower's by a module of ours; its options are to follow.

    Parameters
    ----------
    program : (str, str)
        One of those above; the module has a function `main`.
    trusted : str or sequence of str, optional
        As `Trust.of` takes them. None for a program that runs no app.
    """
    module, name = program
    code = _CODE.format(folder=str(app_folder()), module=module)
    words = (sys.executable, "-P", "-c", code, name)
    if trusted is None:
        return words
    trusted = (trusted,) if isinstance(trusted, str) else trusted
    return (*words, f"{OPTION}={','.join(trusted)}")


def take_trusted() -> tuple[str, ...]:
    """Take our own option out of `sys.argv`, of which Flower reads the rest."""
    option = f"{OPTION}="
    given = [word for word in sys.argv if word.startswith(option)]
    sys.argv = [word for word in sys.argv if not word.startswith(option)]
    return tuple(part for word in given for part in word.removeprefix(option).split(","))


def become(prepare: Callable[[], Callable[[], None]]) -> None:
    """Prepare one of Flower's programs and run it; what forbids that is one line and exit code 2.

    Parameters
    ----------
    prepare : callable () -> Flower's program
    """
    try:
        program = prepare()
    except (FedPatchCoreError, OSError) as error:
        _say(error)
        sys.exit(error.exit_code if isinstance(error, FedPatchCoreError) else 1)
    try:
        program()
    except FedPatchCoreError as error:
        _say(error)
        os._exit(error.exit_code)  # a thread of Flower's that nobody ends would hold the process


def _say(error: Exception) -> None:
    """Tell the launcher and whoever reads the log."""
    print(f"fedpatchcore: {reason(error)}", file=sys.stderr, flush=True)
