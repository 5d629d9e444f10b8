"""Settings of the short run that delivers the model of an earlier one again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from common.config import Settings
from common.errors import InputError
from common.plant.server.resuming import recorded_settings, require_run_id
from common.runs.unfinished import settle


def delivering(
    run_id: str, runs: Path, members: Collection[str], stations: Sequence[str] = ()
) -> Settings:
    """Make the settings with which an earlier run's model is delivered.

    Parameters
    ----------
    run_id : str
    runs : Path
        The server's folder of runs.
    members : collection of str
        Stations of the plant.
    stations : sequence of str
        To whom; by default to all.

    Returns
    -------
    Settings
        Those of the run, so that the stations look at their images as it did.

    Raises
    ------
    InputError
        If there is no such run here, it has no model, or a station is none of the plant.
    """
    folder = runs / require_run_id(run_id)
    record = settle(folder)
    if record is None:
        raise InputError(
            f"{folder / 'run.json'}: is not there; run this on the server, with the folder that "
            "its executor was started with (--runs)"
        )
    if not (folder / "model" / "model.json").is_file():
        raise InputError(
            f"run {run_id} ended as {record.get('status')} and has left no model; deliver a run "
            "that completed (`fedpatchcore plant status` lists them)"
        )
    if unknown := sorted(set(stations) - set(members)):
        raise InputError(
            f"--station {', '.join(unknown)}: no such station; known ones are: "
            f"{', '.join(sorted(members))}"
        )
    mend = "deliver another run's model, or with the version of fedpatchcore that made it"
    settings = recorded_settings(record, f"run {run_id}", mend)
    others = sorted(set(members) - set(stations)) if stations else []
    return settings.with_(
        deliver=run_id,
        without=",".join(others),
        min_stations=1,
        num_server_rounds=1,
        # Merged rows travel as they are: int8 was the format of those that were sent up.
        wire_dtype="float16" if settings.wire_dtype == "int8" else settings.wire_dtype,
    )
