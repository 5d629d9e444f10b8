"""A run of its own that only delivers: it sends the model of an earlier run again."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from flwr.common import log
from flwr.serverapp import Grid

from common.errors import InputError, RunError, reason
from common.patchcore.model_files import file_digest
from common.patchcore.model_folder import FACTS, MODEL
from common.patchcore.model_store import SavedModel
from common.paths import json_text
from common.protocol.messages import without_paths
from common.runs.flower_run import LOG_PREFIX
from common.runs.record import RunRecord
from common.runs.unfinished import RUN_FILE
from common.system.files import write_whole
from server_app.delivery.after_run import replace_of, say
from server_app.delivery.holdings import Holdings
from server_app.delivery.noted import draw_report_again, note_delivery
from server_app.delivery.sending import FAILED, Delivery, Sending, told
from server_app.post import Post
from server_app.roster import Roster
from server_app.strategy import FederatedCoreset

METHOD = "delivery"


def earlier_model(runs: Path, run_id: str, wire_dtype: str) -> SavedModel:
    """Read the model of an earlier run.

    Parameters
    ----------
    runs : Path
        The server's folder of runs.
    run_id : str
    wire_dtype : str
        Of the run that delivers.

    Raises
    ------
    InputError
        If the run has no model, it is damaged, or its rows cannot travel as they are.
    """
    if wire_dtype == "int8":
        raise InputError(
            "setting wire-dtype: found 'int8', expected float16 or float32: rows that were merged "
            "are delivered as they are"
        )
    folder = runs / run_id / MODEL
    if not folder.is_dir():
        raise InputError(f"run {run_id} has left no model on this server; nothing can be delivered")
    return SavedModel.load(folder)


def deliver_earlier(
    grid: Grid, strategy: FederatedCoreset, model: SavedModel
) -> dict[str, Delivery]:
    """Survey the stations and deliver a model to those that are in; return who has it now.

    Raises
    ------
    RunError
        If no station is there, or none is in the model's feature space.
    """
    settings, roster = strategy.settings, strategy.outcome.roster
    strategy.meet(grid)
    stations = [p for p in roster.used() if p.survey is not None and p.survey.real]
    inside = [replace_of(p) for p in stations]
    post = Post(Roster(settings), float(settings.round_timeout))
    post.letters = strategy.letters
    # The bank that all share goes as it judges: whose each row is by category nobody knows now.
    holdings = Holdings(model.banks, settings.wire_dtype, each=model.scope == "category")
    started = time.monotonic()
    sending = Sending(post, grid, model, settings.deliver, holdings)
    found = sending.deliver(inside)
    for participant, own in zip(stations, inside, strict=True):
        participant.bytes_up += own.bytes_up
        participant.bytes_down += own.bytes_down
    found |= {
        p.name: told(FAILED, f"{p.status}: {p.reason}")
        for p in roster.all()
        if p.name not in found and p.name not in settings.left_out
    }
    strategy.outcome.add_seconds("deliver", time.monotonic() - started)
    say(found)
    return found


def write_delivery(
    record: RunRecord, folder: Path, source: Path, found: dict[str, Delivery]
) -> None:
    """Write the record of such a run, and add what became of it to the earlier run's.

    Parameters
    ----------
    record : RunRecord
        As it is known by now; completed here.
    folder : Path
        Of this run.
    source : Path
        Of the earlier one.
    found : dict of station to facts
    """
    run_id = source.name
    record.method, record.status = METHOD, "completed"
    record.notices.insert(0, f"delivered the model of run {run_id} again; nothing was trained")
    record.model_sha256 = file_digest(source / MODEL / FACTS)
    content = record.to_json()
    for station in content["stations"]:
        station["delivery"] = found.get(station["name"])
    write_whole(folder / RUN_FILE, json_text(content) + "\n")
    arrived = {n: {**one, "by_run": folder.name} for n, one in found.items() if one["stored"]}
    try:
        if arrived and note_delivery(source, arrived):
            draw_report_again(source)
    except OSError as error:
        log(logging.WARNING, "%s the record of run %s does not tell of it: %s", LOG_PREFIX, run_id,
            without_paths(reason(error)))  # fmt: skip


def require_arrival(run_id: str, found: dict[str, Delivery]) -> None:
    """Fail where no station has the model.

    Raises
    ------
    RunError
    """
    if not any(one["stored"] for one in found.values()):
        why = "; ".join(f"{name}: {one['reason']}" for name, one in sorted(found.items()))
        raise RunError(f"no station has the model of run {run_id} now. {why}")
