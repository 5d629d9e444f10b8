"""In the place of `flwr-serverapp`: it looks at the app before anything of it is unpacked.

That code stands beside the server's signing key.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flwr.common import log

from common.errors import RunError
from common.hooks import table
from common.hooks.lookup import replace, require, require_function
from common.paths import APP_VARIABLE, RUNS_VARIABLE
from common.plant.app.programs import become, take_trusted
from common.plant.app.trust import SERVER, Trust
from common.plant.app.unpacked import flower_home, own_home
from common.runs.flower_run import LOG_PREFIX, app_folder

_PACKAGES = ("common", "client_app", "server_app")


def main() -> None:
    """Run one ServerApp if its app is one of `--trusted-app=`; the other options are Flower's."""
    become(prepare)


def look_up() -> tuple[Any, Any, Any, Any]:
    """Find what this needs of Flower's: program, run and unpacking of an app, and whose run it is.

    Raises
    ------
    InputError
        If Flower is not what this program was tested with.
    """
    return (
        require_function(table.SERVERAPP),
        require_function(table.SERVERAPP_RUN),
        require(table.UNPACK_APP),
        require(table.TASK),
    )


def prepare() -> Callable[[], None]:
    """Put the look at the app in its place; return Flower's program.

    Raises
    ------
    InputError
        As `look_up`, or if the trusted apps are none.
    RunError, OSError
        If there is no folder to unpack into.
    """
    program, run, unpack, task = look_up()
    trust = Trust.of(take_trusted(), SERVER)
    # Several run at a time: no folder is there before its app is, and none is another's.
    home = own_home(flower_home())
    os.environ["FLWR_HOME"] = str(home)
    os.environ.pop(APP_VARIABLE, None)  # what somebody else says of it is nothing
    atexit.register(shutil.rmtree, home, ignore_errors=True)

    def unpack_trusted(archive: bytes, *words: Any, **named: Any) -> Any:
        verdict = trust.judge(archive)
        if verdict.refusal:
            # This line `plant run` shows; the error goes into the run's status.
            log(logging.ERROR, "%s failed: %s", LOG_PREFIX, verdict.refusal)
            _write_down(int(task.run_id), verdict.refusal)
            raise RunError(verdict.refusal)
        if verdict.app is not None:
            os.environ[APP_VARIABLE] = verdict.app.hash
        if trust.warning:
            log(logging.WARNING, "%s %s", LOG_PREFIX, trust.warning)
        return unpack(archive, *words, **named)

    replace(table.UNPACK_APP, unpack_trusted, run)
    _make_way()
    return program


def _write_down(run_id: int, refusal: str) -> None:
    """Leave a record of a refused run, by this installation's code: the app's never runs."""
    sys.path.insert(0, str(app_folder()))
    from common.protocol.messages import without_paths
    from common.runs.unbegun import write_unbegun

    runs, told = Path(os.environ[RUNS_VARIABLE]), without_paths(refusal)
    try:
        write_unbegun(runs, run_id, started=datetime.now(UTC), error=told)
    except OSError as error:
        log(logging.ERROR, "%s run %d has no record: %s", LOG_PREFIX, run_id, error)


def _make_way() -> None:
    """Let the run's app be imported and not this installation's, from which this module comes."""
    folder = str(app_folder())
    sys.path[:] = [place for place in sys.path if place != folder]
    for name in list(sys.modules):
        if name.partition(".")[0] in _PACKAGES:
            del sys.modules[name]
