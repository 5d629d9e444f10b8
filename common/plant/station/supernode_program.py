"""In the place of `flower-supernode`: the same program, with a guard at its door.

It also waits longer for a ClientApp to start: Flower's takes one that has not told of itself within
30 s for lost and starts another beside it. On a slow computer both work then, and twice the memory
is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flwr.app import Error

from common.hooks import table
from common.hooks.lookup import replace, require, require_function
from common.plant.app.programs import become, take_trusted
from common.plant.app.trust import STATION, Trust
from common.plant.app.unpacked import flower_home, remove_apps
from common.plant.station.guard import Guard
from common.plant.station.stripped import stripping

START_SECONDS: Final = 90.0
"""For Python and Flower to be read from a slow disk: answers are waited for far longer."""


def main() -> None:
    """Run a SuperNode that takes only apps of `--trusted-app=`; the other options are Flower's."""
    become(prepare)


def prepare() -> Callable[[], None]:
    """Put the guard in its place; return Flower's program.

    Raises
    ------
    InputError
        If Flower is not what this program was tested with, or the trusted apps are none.
    RunError
        If an app that was unpacked earlier cannot be removed.
    """
    program, loop = require_function(table.SUPERNODE), require_function(table.SUPERNODE_LOOP)
    for hook in (
        *(table.SUPERNODE_CALLS, table.SUPERNODE_REFUSAL),
        *(table.SUPERNODE_MESSAGE, table.SUPERNODE_TREE),
        *(table.TASK_CLAIMED, table.TASK_SECONDS, table.TASK_PATIENCE),
    ):
        require(hook)
    trust, home = Trust.of(take_trusted(), STATION), flower_home()
    remove_apps(home)

    def refuse_with(error: Error) -> None:
        replace(table.SUPERNODE_REFUSAL, error, loop)

    guard = Guard(trust, home, refuse_with)

    def trusting(**settings: Any) -> None:
        loop(**{**settings, "trusted_entities": guard.entities})

    _let_start_slowly()
    calls = stripping(require(table.SUPERNODE_CALLS))
    replace(table.SUPERNODE_CALLS, guard.around(calls), loop)
    replace(table.SUPERNODE_LOOP, trusting, program)
    return program


def _let_start_slowly() -> None:
    """Give a ClientApp more time to start; one that has started and ends is missed as before."""
    claimed, seconds = require_function(table.TASK_CLAIMED), require(table.TASK_SECONDS)
    # Flower waits for so many times these seconds for the next sign of one that works.
    patience = require(table.TASK_PATIENCE) * seconds / START_SECONDS
    replace(table.TASK_PATIENCE, patience, claimed)
    replace(table.TASK_SECONDS, START_SECONDS, claimed)
