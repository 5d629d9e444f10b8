"""From what the strategy found out to the files of the run."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from common.config import Settings
from common.evaluation import (
    EvaluationCounts,
    Threshold,
    calibrate_threshold,
    report_calibration,
)
from common.patchcore.local_bank import Distances
from common.patchcore.model_store import SavedModel, StationCalibration
from common.protocol.messages import without_paths
from common.runs.output import CategoryResult, RunRecord, threshold_facts, write_run
from server_app.outcome import Outcome
from server_app.roster import Participant

RUNS_VARIABLE: Final = "FEDPATCHCORE_RUNS"


def run_folder(settings: Settings, run_id: int, deployed: bool) -> Path:
    """Where this run is written.

    A simulation writes to its `output-dir`. On a real plant that setting is ignored, because it
    would let whoever submits a run choose a path on the server: runs go to
    `$FEDPATCHCORE_RUNS/<run-id>`, by default below `~/.fedpatchcore/runs`.
    """
    if deployed:
        chosen = os.environ.get(RUNS_VARIABLE) or "~/.fedpatchcore/runs"
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

    Returns
    -------
    Path
        The run folder.
    """
    real = has_real_stations(outcome)
    if (real or deployed) and error is not None:
        error = without_paths(error)
    categories = outcome.categories()
    surveys = outcome.surveys.values()
    record = RunRecord(
        settings=settings,
        method=method_name(settings, real),
        started=started,
        status="completed" if error is None else "failed",
        error=error,
        flower_run_id=str(run_id),
        seconds=dict(outcome.seconds),
        synthetic=any(survey.synthetic for survey in surveys) if surveys else None,
        categories=categories,
        space=outcome.space,
        stations=[participant.to_json() for participant in outcome.roster.all()],
        device=outcome.device,
        hide_paths=real or deployed,
        summary=outcome.roster.summary(),
        notices=_who_is_missing(outcome) + outcome.notices,
        contributions=[_contribution(p, outcome) for p in outcome.roster.all() if p.survey],
    )
    if error is None:
        thresholds = {
            category: calibrate_threshold(
                outcome.held_out_scores(category), settings.target_false_alarm_rate
            )
            for category in categories
        }
        record.model = _model(settings, outcome, thresholds, run_id, started, real)
        record.evaluated = _evaluated(outcome, thresholds)
        record.notices += _remarks(outcome)
    return write_run(record, run_folder(settings, run_id, real or deployed))


def method_name(settings: Settings, real: bool) -> str:
    """`federated` for real stations, `federated_<partition>` in a simulation."""
    return "federated" if real else f"federated_{settings.partition}"


def has_real_stations(outcome: Outcome) -> bool:
    """Whether any station of the run is more than a simulated one."""
    return any(p.survey is not None and p.survey.real for p in outcome.roster.all())


def _evaluated(outcome: Outcome, thresholds: dict[str, Threshold | None]) -> list[CategoryResult]:
    """Results of every category that is not left without a bank; empty counts say so themselves."""
    evaluated = []
    for category in outcome.categories():
        counts, threshold = outcome.counts.get(category, EvaluationCounts()), thresholds[category]
        report = report_calibration(
            threshold,
            outcome.held_out_scores(category),
            counts.image_scores(0),
            outcome.station_scores.get(category),
        )
        evaluated.append(CategoryResult(category, counts.compute(), threshold, report))
    return evaluated


def _who_is_missing(outcome: Outcome) -> list[str]:
    """Return the first thing that a reader must know, if anyone is missing."""
    complete = all(p.status == "used" for p in outcome.roster.all())
    return [] if complete else [outcome.roster.summary()]


def _remarks(outcome: Outcome) -> list[str]:
    remarks = []
    for category in outcome.categories():
        if category not in outcome.counts and category not in outcome.without_bank:
            remarks.append(f"nobody has test images of {category}: it was not evaluated")
        if not outcome.held_out_scores(category):
            remarks.append(f"no held-out good image of {category}: it has no threshold")
    remarks += [
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


def _model(
    settings: Settings,
    outcome: Outcome,
    thresholds: dict[str, Threshold | None],
    run_id: int,
    started: datetime,
    real: bool,
) -> SavedModel | None:
    if outcome.space is None:
        return None
    return SavedModel(
        banks=outcome.rows,
        space=outcome.space,
        image_score=settings.image_score,
        categories=tuple(outcome.categories()),
        thresholds=threshold_facts(thresholds),
        calibration={name: outcome.held_out_scores(name) for name in outcome.station_scores},
        stations=_station_calibrations(settings, outcome),
        selection=Distances(settings.coreset_projection, settings.seed),
        radius=outcome.radius,
        weights_source="" if real else settings.weights,
        provenance={
            "method": method_name(settings, real),
            "flower_run_id": str(run_id),
            "created": started.isoformat(timespec="seconds"),
            "synthetic_data": any(survey.synthetic for survey in outcome.surveys.values()),
            "stations": {p.name: p.rows_chosen for p in outcome.roster.all() if p.rows_chosen},
        },
    )


def _station_calibrations(settings: Settings, outcome: Outcome) -> dict[str, StationCalibration]:
    """Thresholds and held-out scores of every station that held anything out."""
    found: dict[str, StationCalibration] = {}
    for category, stations in sorted(outcome.station_scores.items()):
        for name, own in sorted(stations.items()):
            threshold = calibrate_threshold(own.held_out, settings.target_false_alarm_rate)
            if threshold is not None:
                station = found.setdefault(name, StationCalibration())
                station.thresholds.update(threshold_facts({category: threshold}))
                station.calibration[category] = list(own.held_out)
    return found


def _contribution(participant: Participant, outcome: Outcome) -> dict[str, Any]:
    survey = participant.survey
    categories = survey.categories if survey else {}
    return {
        "name": participant.name,
        "images": sum(counts.images for counts in categories.values()),
        "patches": sum(counts.patches for counts in categories.values()),
        "budget": sum(outcome.plan.budgets_of(participant.name).values()),
        "rows_sent": participant.rows_sent,
        "rows_chosen": participant.rows_chosen,
        "bytes": participant.bytes_up,
        "radius": participant.radius,
        "seconds": participant.seconds,
        "categories": {
            name: {"images": counts.images, "patches": counts.patches}
            for name, counts in sorted(categories.items())
        },
    }
