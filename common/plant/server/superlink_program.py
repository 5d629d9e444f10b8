"""In the place of `flower-superlink`: the same program, whose calls wait longer for its database.

Flower's gives a call up that has waited 5 s for the database, which a disk that is busy with
something else may take. Its answer is then 500, also to what had been done by then: an object of a
station's reply is stored, and the bytes of the run are not counted any more. The station sends it
again, is told that nobody waits for it, and its reply is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common.hooks import table
from common.hooks.lookup import replace, require, require_function
from common.plant.app.programs import become

PATIENCE_SECONDS: Final = 25.0
"""For the database: less than the 30 s after which who called gives the call up."""
_PATIENCE: Final = "busy_timeout"


def main() -> None:
    """Run a SuperLink; the options are Flower's."""
    become(prepare)


def prepare() -> Callable[[], None]:
    """Put our patience in the place of Flower's; return Flower's program.

    Raises
    ------
    InputError
        If Flower is not what this program was tested with.
    """
    program, opened = require_function(table.SUPERLINK), require_function(table.DATABASE_OPENED)
    choices = dict(require(table.DATABASE_CHOICES))
    patient = {**choices, _PATIENCE: str(round(PATIENCE_SECONDS * 1000))}
    replace(table.DATABASE_CHOICES, tuple(patient.items()), opened)
    return program
