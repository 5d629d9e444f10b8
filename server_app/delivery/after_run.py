"""The delivery of a run's own model, when all its files have been written."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

from flwr.common import log
from flwr.serverapp import Grid

from common.errors import reason
from common.patchcore.model_store import SavedModel
from common.protocol.messages import without_paths
from common.runs.flower_run import LOG_PREFIX
from common.runs.unfinished import DELIVERING
from server_app.delivery.noted import draw_report_again, note_delivery
from server_app.delivery.sending import FAILED, Delivery, Sending, told
from server_app.letters import Letters
from server_app.outcome import Outcome
from server_app.post import Post
from server_app.roster import Participant, Roster


def deliver_model(
    grid: Grid, outcome: Outcome, letters: Letters | None, folder: Path, run_id: int
) -> None:
    """Send the finished model to every real station that is in, and note what became of it.

    Parameters
    ----------
    grid : Grid
    outcome : Outcome
        Of the run, with its banks.
    letters : Letters or None
    folder : Path
        Of the run, written.
    run_id : int

    Notes
    -----
    Nothing that goes wrong here is raised: the run is finished and stays so.
    """
    stations = [p for p in outcome.roster.all() if p.survey is not None and p.survey.real]
    if not stations:
        return
    started = time.monotonic()
    again = f"`fedpatchcore plant deliver {run_id}` sends it again"
    inside = [replace_of(p) for p in stations if p.status == "used"]
    found: dict[str, Delivery] = {
        p.name: told(FAILED, f"it was out of the run before its end; {again}")
        for p in outcome.roster.all()
        if p.status != "used"
    }
    try:
        note_delivery(folder, {p.name: told(DELIVERING) for p in inside})
        log(logging.INFO, "%s delivering the model to %d stations", LOG_PREFIX, len(inside))
        model = SavedModel.load(folder / "model")
        settings = outcome.roster.settings
        post = Post(Roster(settings), float(settings.round_timeout))
        post.letters = letters
        rounds = settings.num_server_rounds
        sending = Sending(post, grid, model, str(run_id), outcome.holdings(), rounds)
        found |= sending.deliver(inside)
    except Exception as error:
        why = without_paths(reason(error))
        log(logging.ERROR, "%s the model was not delivered: %s", LOG_PREFIX, why)
        found = {**{p.name: told(FAILED, f"{why}; {again}") for p in inside}, **found}
    try:
        note_delivery(
            folder,
            found,
            seconds=time.monotonic() - started,
            bytes_down={p.name: p.bytes_down for p in inside},
            bytes_up={p.name: p.bytes_up for p in inside},
        )
    except Exception as error:
        log(logging.ERROR, "%s the record does not tell of the delivery: %s", LOG_PREFIX,
            reason(error))  # fmt: skip
        return
    say(found)
    draw_report_again(folder)


def replace_of(participant: Participant) -> Participant:
    """The same station with an account of its own: who fails in the delivery has not in the run."""
    return replace(participant, bytes_up=0, bytes_down=0, devices={})


def say(found: dict[str, Delivery]) -> None:
    """Tell in the log who has the model."""
    states: dict[str, list[str]] = {}
    for name, facts in sorted(found.items()):
        states.setdefault(str(facts["state"]), []).append(name)
    shown = "; ".join(f"{state} at {', '.join(names)}" for state, names in sorted(states.items()))
    log(logging.INFO, "%s delivery: %s", LOG_PREFIX, shown)
