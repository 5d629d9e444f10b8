"""Run config -> strategy -> written run."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from flwr.app import ArrayRecord, Context
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from common.system.garbage import imported_for_good

with imported_for_good():
    from common.config import Settings
    from common.errors import reason
    from common.hooks.lookup import require
    from common.hooks.table import HTTP_GRID
    from common.patchcore.names import check_names
    from common.runs.flower_run import LOG_PREFIX
    from server_app.careful_grid import CarefulGrid, be_patient
    from server_app.registry import read_registry
    from server_app.run_writer import write_outcome
    from server_app.server_evaluation import ServerEvaluation
    from server_app.strategy import FederatedCoreset

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the conversation and write what came of it, a failure included.

    Once the banks are built no failure discards them: the model is written as it is, and what
    could not be evaluated is told.

    Raises
    ------
    FedPatchCoreError
        After the failed run has been written: Flower marks the run as failed.
    """
    try:
        _run(grid, context)
    except Exception as error:
        # One line: a simulation's log is read line by line for the reason.
        log(logging.ERROR, "%s failed: %s", LOG_PREFIX, " ".join(reason(error).split()))
        raise


def _run(grid: Grid, context: Context) -> None:
    started = datetime.now(UTC)
    settings = check_names(Settings.from_run_config(context.run_config))
    # SuperNodes are reached over the network; a simulation's grid lives in this process.
    deployed = isinstance(grid, require(HTTP_GRID))
    strategy = FederatedCoreset(settings)
    outcome = strategy.outcome
    failure: Exception | None = None
    try:
        if deployed:
            strategy.know(read_registry())
            be_patient(grid)
            grid = CarefulGrid(grid)
        # Opened first, so that an unusable folder does not cost the stations' work.
        judge = ServerEvaluation(settings) if settings.evaluation == "server" else None
        strategy.start(
            grid,
            ArrayRecord(),
            num_rounds=settings.num_server_rounds,
            timeout=float(settings.round_timeout),
        )
        if judge is not None:
            judge.run(outcome)
    except Exception as error:
        if outcome.built:
            outcome.unevaluated.append(reason(error))
            outcome.gaps = {name: {"test", "held-out"} for name in outcome.categories()}
        else:
            failure = error
    folder = write_outcome(
        settings,
        outcome,
        run_id=context.run_id,
        started=started,
        deployed=deployed,
        error=None if failure is None else reason(failure),
    )
    log(logging.INFO, "%s %s", LOG_PREFIX, outcome.roster.summary())
    for missed in outcome.unevaluated:
        log(logging.WARNING, "%s NOT EVALUATED: %s", LOG_PREFIX, missed)
    log(logging.INFO, "%s written: %s", LOG_PREFIX, folder)
    if failure is not None:
        raise failure
