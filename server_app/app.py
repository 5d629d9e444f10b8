"""Run config -> strategy -> written run."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from flwr.app import ArrayRecord, Context
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from common.config import Settings
from common.errors import FedPatchCoreError
from server_app.run_writer import write_outcome
from server_app.server_evaluation import evaluate_on_server
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
    started = datetime.now(UTC)
    settings = Settings.from_run_config(context.run_config)
    strategy = FederatedCoreset(settings)
    outcome = strategy.outcome
    try:
        strategy.start(
            grid,
            ArrayRecord(),
            num_rounds=settings.num_server_rounds,
            timeout=float(settings.round_timeout),
        )
        if settings.evaluation == "server":
            evaluate_on_server(settings, outcome)
    except Exception as error:
        known = isinstance(error, FedPatchCoreError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        folder = write_outcome(
            settings, outcome, run_id=context.run_id, started=started, error=reason
        )
        log(logging.ERROR, "%s failed: %s (see %s)", LOG_PREFIX, reason, folder / "run.json")
        raise
    folder = write_outcome(settings, outcome, run_id=context.run_id, started=started)
    log(logging.INFO, "%s written: %s", LOG_PREFIX, folder)
