"""Run config -> strategy -> written run."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from flwr.app import ArrayRecord, Context
from flwr.common import log
from flwr.serverapp import Grid, ServerApp
from flwr.superlink.grid import HttpGrid

from common.config import Settings
from common.errors import reason
from server_app.careful_grid import CarefulGrid, be_patient
from server_app.registry import read_registry
from server_app.run_writer import write_outcome
from server_app.server_evaluation import ServerEvaluation
from server_app.strategy import LOG_PREFIX, FederatedCoreset

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the conversation and write what came of it, a failure included.

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
    settings = Settings.from_run_config(context.run_config)
    # SuperNodes are reached over the network; a simulation's grid lives in this process.
    deployed = isinstance(grid, HttpGrid)
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
    log(logging.INFO, "%s written: %s", LOG_PREFIX, folder)
    if failure is not None:
        raise failure
