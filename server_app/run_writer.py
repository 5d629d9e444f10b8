"""From what the strategy found out to the files of the run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from common.config import Settings
from common.errors import reason
from common.evaluation import EvaluationCounts, calibrate_threshold
from common.evaluation.judge import conclude
from common.evaluation.result import without_pixels
from common.patchcore.model_store import StationCalibration
from common.paths import APP_VARIABLE, DEFAULT_RUNS, RUNS_VARIABLE
from common.protocol.messages import without_paths
from common.runs.output import write_run
from common.runs.record import Contribution, RunRecord, threshold_facts
from common.runs.unbegun import write_unbegun
from common.runs.unfinished import RUNNING, STOPPED, what_is_lost
from server_app.influence.assess import Influence, assess
from server_app.influence.exclude import Exclusion, exclude
from server_app.outcome import Outcome
from server_app.roster import Participant


def run_folder(settings: Settings, run_id: int, deployed: bool) -> Path:
    """Where this run is written.

    A simulation writes to its `output-dir`. On a real plant that setting is ignored, because it
    would let whoever submits a run choose a path on the server: runs go to
    `$FEDPATCHCORE_RUNS/<run-id>`, by default below `~/.fedpatchcore/runs`.
    """
    if deployed:
        chosen = os.environ.get(RUNS_VARIABLE) or DEFAULT_RUNS
        return Path(chosen).expanduser() / str(run_id)
    return Path(settings.output_dir).expanduser().resolve()


def write_outcome(
    settings: Settings,
    outcome: Outcome,
    *,
    run_id: int,
    started: datetime,
    deployed: bool = False,
    error: str | None = None,
    stopped: bool = False,
) -> Path:
    """Write the files of a run; of a failed one only what it was and who took part.

    Parameters
    ----------
    settings : Settings
    outcome : Outcome
    run_id : int
        Flower's.
    started : datetime
    deployed : bool
        Whether the stations are SuperNodes on a network rather than a simulation in this process.
    error : str, optional
        Why the run failed. No model, no metrics are written then.
    stopped : bool
        Whether it did so because somebody stopped it.

    Returns
    -------
    Path
        The run folder.

    Raises
    ------
    RunError
        If the model could not be written; all else has been.
    """
    influence, excluded = None, Exclusion()
    if error is None:
        influence = _influence(outcome)
        if influence is not None and settings.on_suspicion == "exclude":
            excluded = exclude(outcome, influence)
    record = so_far(settings, outcome, run_id=run_id, started=started, deployed=deployed)
    record.status = "completed" if error is None else STOPPED if stopped else "failed"
    if error is None:
        record.notices += excluded.notices
        _tell_influence(record, influence)
        _conclude(record, outcome, excluded.pixels)
    else:
        record.error = without_paths(error) if record.hide_paths else error
        if deployed:
            record.notices.append(what_is_lost(str(run_id)))
    real = has_real_stations(outcome)
    return write_run(record, run_folder(settings, run_id, real or deployed))


def write_refused(given: Mapping[str, Any], run_id: int, started: datetime, error: str) -> Path:
    """Write that a plant's run had settings with which none can be: they and the reason.

    Parameters
    ----------
    given, run_id, started
        As `write_unbegun` takes them.
    error : str
        Paths in it are not told.
    """
    runs = run_folder(Settings(), run_id, deployed=True).parent
    told = without_paths(error)
    return write_unbegun(runs, run_id, started=started, error=told, given=given)


def so_far(
    settings: Settings,
    outcome: Outcome,
    *,
    run_id: int,
    started: datetime,
    deployed: bool = False,
) -> RunRecord:
    """Make the record of a run of what is known by now; see `write_outcome`."""
    real = has_real_stations(outcome)
    hide = without_paths if real or deployed else str
    surveys = outcome.surveys.values()
    return RunRecord(
        settings=settings,
        method=method_name(settings, real or (deployed and not surveys)),
        started=started,
        status=RUNNING,
        flower_run_id=str(run_id),
        seconds=dict(outcome.seconds),
        synthetic=any(survey.synthetic for survey in surveys) if surveys else None,
        categories=outcome.categories(),
        space=outcome.space,
        stations=[participant.facts() for participant in outcome.roster.all()],
        progress=outcome.progress,
        device=outcome.device,
        hide_paths=real or deployed,
        summary=outcome.roster.summary(),
        notices=_who_is_missing(outcome) + outcome.notices,
        unevaluated=[hide(missed) for missed in outcome.unevaluated],
        audits=outcome.audits,
        contributions=[_contribution(p, outcome) for p in outcome.roster.all() if p.survey],
    )


def _conclude(record: RunRecord, outcome: Outcome, no_pixels: Mapping[str, str]) -> None:
    """Results of every category, empty ones included, and the model.

    `no_pixels` says of which categories no figure that counts pixels is there, and why.
    """
    rule, fenced = record.settings.target_false_alarm_rate, record.settings.audit_good != "off"
    for category in outcome.categories():
        counts = outcome.counts.get(category, EvaluationCounts())
        scores = outcome.station_scores.get(category, {})
        held_out = [score for own in scores.values() for score in own.held_out]
        found = conclude(category, counts, held_out, rule, stations=scores, fenced=fenced)
        if category in no_pixels:
            found = replace(found, result=without_pixels(found.result, no_pixels[category]))
        told = ("test", "held-out") if category in outcome.without_bank else ()
        record.keep(found, known=outcome.gaps.get(category, told))
    record.notices += _remarks(outcome)
    record.save_model(
        outcome.judging,
        outcome.judging_radii,
        _station_calibrations(outcome, rule, fenced),
        outcome.shares,
        flower_run_id=record.flower_run_id,
        stations={p.name: p.rows_chosen for p in outcome.roster.all() if p.rows_chosen},
        **_app_of_run(),
    )


def _app_of_run() -> dict[str, str]:
    """The hash of the app that this code is part of; a simulation's nobody has looked at."""
    found = os.environ.get(APP_VARIABLE)
    return {"app_sha256": found} if found else {}


def _influence(outcome: Outcome) -> Influence | None:
    """What every station changes; whatever hinders that must not cost the run."""
    try:
        return assess(outcome)
    except Exception as error:
        outcome.unevaluated.append(f"what each station's rows do is not known ({reason(error)})")
        return None


def _tell_influence(record: RunRecord, influence: Influence | None) -> None:
    if influence is None:
        return
    record.influence = influence.to_json()
    record.contributions = [
        replace(own, verdict=judged.verdict, verdict_sentence=judged.sentence)
        if (judged := influence.stations.get(own.name)) is not None
        else own
        for own in record.contributions
    ]


def method_name(settings: Settings, real: bool) -> str:
    """`federated` for real stations, `federated_<partition>` in a simulation."""
    return "federated" if real else f"federated_{settings.partition}"


def has_real_stations(outcome: Outcome) -> bool:
    """Whether any station of the run is more than a simulated one."""
    return any(p.survey is not None and p.survey.real for p in outcome.roster.all())


def _who_is_missing(outcome: Outcome) -> list[str]:
    """Return the first thing that a reader must know, if anyone is missing."""
    complete = all(p.status == "used" for p in outcome.roster.all())
    return [] if complete else [outcome.roster.summary()]


def _remarks(outcome: Outcome) -> list[str]:
    remarks = [
        f"no bank for {category}: no station trained on it"
        for category in sorted(outcome.without_bank)
    ]
    without_test = [
        name
        for name, survey in sorted(outcome.surveys.items())
        if not any(counts.test for counts in survey.categories.values())
    ]
    if without_test:
        remarks.append(f"without test images of their own: {', '.join(without_test)}")
    lost = [p for p in outcome.roster.all() if p.status != "used"]
    remarks += [
        f"{p.name} left after its rows had been merged: {p.rows_chosen} of them are in the bank, "
        "its test images are not counted"
        for p in lost
        if p.rows_chosen
    ]
    return remarks


def _station_calibrations(
    outcome: Outcome, rule: float, fenced: bool
) -> dict[str, StationCalibration]:
    """Thresholds and held-out scores of every station that held anything out."""
    found: dict[str, StationCalibration] = {}
    for category, stations in sorted(outcome.station_scores.items()):
        for name, own in sorted(stations.items()):
            threshold = calibrate_threshold(own.held_out, rule, fenced=fenced)
            if threshold is not None:
                station = found.setdefault(name, StationCalibration())
                station.thresholds.update(threshold_facts({category: threshold}))
                # What lies beyond its fence took no part.
                station.calibration[category] = sorted(own.held_out)[: threshold.held_out_images]
    return found


def _contribution(participant: Participant, outcome: Outcome) -> Contribution:
    categories = participant.survey.categories if participant.survey else {}
    return Contribution(
        participant.name,
        budget=sum(outcome.plan.budgets_of(participant.name).values()),
        rows_sent=participant.rows_sent,
        rows_chosen=participant.rows_chosen,
        bytes=participant.bytes_up,
        radius=participant.radius,
        seconds=participant.seconds,
        images_counted=outcome.counted.stations.get(participant.name),
        categories={
            name: {"images": counts.images, "patches": counts.patches}
            for name, counts in sorted(categories.items())
        },
        audit=outcome.audits.get(participant.name, {}),
    )
