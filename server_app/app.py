"""Run config -> strategy -> written run."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypedDict

from flwr.app import ArrayRecord, Context
from flwr.common import log
from flwr.serverapp import Grid, ServerApp

from common.system.garbage import imported_for_good

with imported_for_good():
    from common.config import Settings
    from common.errors import InputError, RunError, reason
    from common.hooks.lookup import require
    from common.hooks.table import HTTP_GRID
    from common.patchcore.names import check_names
    from common.plant.server.allowances import read_allowances
    from common.runs.flower_run import LOG_PREFIX
    from common.runs.record import RunRecord
    from common.runs.unfinished import what_is_lost, where
    from server_app.careful_grid import be_patient
    from server_app.delivery.after_run import deliver_model
    from server_app.delivery.again import (
        deliver_earlier,
        earlier_model,
        require_arrival,
        write_delivery,
    )
    from server_app.letters import read_letters
    from server_app.outcome import Outcome
    from server_app.registry import read_registry
    from server_app.roster import Roster
    from server_app.run_writer import run_folder, so_far, write_outcome, write_refused
    from server_app.server_evaluation import ServerEvaluation
    from server_app.standing import Standing
    from server_app.strategy import FederatedCoreset
    from server_app.told_grid import ToldGrid

app = ServerApp()

UNSIGNED: Final = (
    "letters are not signed: this server has no app key and knows no station's key, so no real "
    "station obeys it"
)


class Known(TypedDict):
    """What is known of a run before it begins."""

    run_id: int
    started: datetime
    deployed: bool


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
    # SuperNodes are reached over the network; a simulation's grid lives in this process.
    deployed = isinstance(grid, require(HTTP_GRID))
    known: Known = {"run_id": context.run_id, "started": started, "deployed": deployed}
    try:
        settings = check_names(Settings.from_run_config(context.run_config))
    except InputError as unusable:
        if deployed:
            write_refused(context.run_config, context.run_id, started, reason(unusable))
        raise
    if settings.deliver:
        _run_delivery(grid, context, settings, known)
        return
    strategy = FederatedCoreset(settings)
    outcome = strategy.outcome
    if not deployed:
        failure = _converse(grid, context, strategy)
        error = _told(failure)
        folder = write_outcome(settings, outcome, **known, error=error)
        _deliver(strategy, folder, context.run_id, error)
    else:
        place = run_folder(settings, context.run_id, deployed)
        with Standing(place, outcome, lambda: so_far(settings, outcome, **known)) as standing:
            failure = _converse(grid, context, strategy, standing)
            # Who was stopped hears of it as of any other failure, in the middle of a step.
            cause = standing.cause() if failure or outcome.unevaluated else None
            error = _told(failure)
            if cause is not None:
                at = where({"progress": outcome.progress})
                error = f"stopped {cause} at {at}. {what_is_lost(str(context.run_id))}"
            with standing.writing(failed=error is not None):
                folder = write_outcome(
                    settings, outcome, **known, error=error, stopped=cause is not None
                )
            _deliver(strategy, folder, context.run_id, error)
    log(logging.INFO, "%s %s", LOG_PREFIX, outcome.roster.summary())
    for missed in outcome.unevaluated:
        log(logging.WARNING, "%s NOT EVALUATED: %s", LOG_PREFIX, missed)
    log(logging.INFO, "%s written: %s", LOG_PREFIX, folder)
    if error is not None:
        raise failure or RunError(error)


def _run_delivery(grid: Grid, context: Context, settings: Settings, known: Known) -> None:
    """Deliver an earlier run's model, in a run that does nothing else."""
    if not known["deployed"]:
        raise InputError(
            f"setting deliver: found {settings.deliver!r}, expected nothing: in a simulation no "
            "station keeps a model"
        )
    place = run_folder(settings, context.run_id, deployed=True)
    source = place.parent / settings.deliver
    outcome = Outcome(Roster(settings))

    def record() -> RunRecord:
        return so_far(settings, outcome, **known)

    with Standing(place, outcome, record) as standing:
        try:
            model = earlier_model(place.parent, settings.deliver, settings.wire_dtype)
            # Who is in another feature space than the model's is refused as in any run.
            strategy = FederatedCoreset(
                settings.with_(feature_space=model.space.fingerprint), outcome
            )
            told_grid = _known_grid(grid, context, strategy, standing)
            found = deliver_earlier(told_grid, strategy, model)
            require_arrival(settings.deliver, found)
        except Exception as error:
            cause = standing.cause()
            told = reason(error) if cause is None else f"stopped {cause}"
            with standing.writing(failed=True):
                write_outcome(settings, outcome, **known, error=told, stopped=cause is not None)
            raise
        with standing.writing(failed=False):
            write_delivery(record(), place, source, found)
    log(logging.INFO, "%s written: %s", LOG_PREFIX, place)


def _known_grid(
    grid: Grid, context: Context, strategy: FederatedCoreset, standing: Standing
) -> Grid:
    """Tell a plant's run who belongs to the plant; return its grid, which is patient and tells."""
    registry = read_registry()
    letters = read_letters(registry, context.run_id, context.run_config)
    if letters is None:
        strategy.outcome.note(UNSIGNED)
    strategy.know(registry, letters, read_allowances())
    be_patient(grid)
    return ToldGrid(grid, standing, strategy.outcome)


def _deliver(strategy: FederatedCoreset, folder: Path, run_id: int, error: str | None) -> None:
    """Send the model of a run that has one to its stations: all its files are there by now."""
    if error is None and strategy.grid is not None:
        deliver_model(strategy.grid, strategy.outcome, strategy.letters, folder, run_id)


def _converse(
    grid: Grid, context: Context, strategy: FederatedCoreset, standing: Standing | None = None
) -> Exception | None:
    """Hold the conversation; return why there is nothing to build a model of, if so."""
    settings, outcome = strategy.settings, strategy.outcome
    try:
        if standing is not None:
            grid = _known_grid(grid, context, strategy, standing)
        # Opened first, so that an unusable folder does not cost the stations' work.
        judge = ServerEvaluation(settings) if settings.evaluation == "server" else None
        strategy.start(
            grid,
            ArrayRecord(),
            num_rounds=settings.num_server_rounds,
            timeout=float(settings.round_timeout),
        )
        if judge is not None:
            if standing is not None:
                standing.step("evaluate at the server")
            judge.run(outcome)
    except Exception as error:
        if not outcome.built:
            return error
        outcome.unevaluated.append(reason(error))
        outcome.gaps = {name: {"test", "held-out"} for name in outcome.categories()}
    return None


def _told(failure: Exception | None) -> str | None:
    return None if failure is None else reason(failure)
