"""A set of runs on one data folder: each once, resumable, one failure not stopping the others."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from common.analysis.report import write_report
from common.config import Settings
from common.data.layout import DataIndex
from common.errors import InputError, RunError, reason
from common.patchcore.network.architecture import AUTO
from common.patchcore.network.architectures import find_backbone
from common.paths import json_text
from common.runs.baseline import run_baseline
from common.runs.experiment_plan import PlannedRun
from common.runs.gallery import best_and_worst
from common.runs.local import run_local
from common.runs.output import write_run
from common.runs.record import RunRecord
from common.runs.simulation import run_simulation
from common.system.files import write_whole

RUNS_FOLDER: Final = "runs"
SUMMARY_FILE: Final = "experiment.json"
NO_INFLUENCE: Final = frozenset(
    {"output-dir", "device", "batch-size", "num-workers", "round-timeout"}
)
"""Settings that never change a result: a run that differs in them only is not repeated."""


@dataclass(frozen=True)
class Outcome:
    """What became of one planned run.

    Attributes
    ----------
    run : PlannedRun
    folder : Path
    status : str
        `completed` now, `kept` from before, or `failed`.
    seconds : float
        How long the run took, when it ran.
    error : str or None
    """

    run: PlannedRun
    folder: Path
    status: str
    seconds: float
    error: str | None = None


class Listener(Protocol):
    """What wants to know how an experiment gets on; every method may do nothing."""

    def begin(self, run: PlannedRun, number: int, total: int, left: float | None) -> None:
        """Tell that a run begins; `left` is the estimate in seconds for it and all after it."""

    def step(self, text: str, done: int, total: int) -> None:
        """Tell about the run in progress; `total` 0 where it is not known."""

    def end(self, outcome: Outcome) -> None:
        """Tell that a run has ended, or was there already."""


def run_experiment(
    planned: Sequence[PlannedRun], index: DataIndex, out: Path, listener: Listener
) -> list[Outcome]:
    """Run what is not finished yet, one run after the other.

    Parameters
    ----------
    planned : sequence of PlannedRun
        With data folder and weights settled; distinct names.
    index : DataIndex
        Of their data folder.
    out : Path
        Folder of the experiment; each run is written to `runs/<name>` in it.
    listener : Listener

    Returns
    -------
    list of Outcome
        In order of `planned`. A failed run has its reason; the others ran all the same.

    Raises
    ------
    InputError
        If another experiment is at work in the same folder.

    Notes
    -----
    A run counts as finished if its `run.json` says `completed` with the same method and the same
    settings, but for those that change no result (`NO_INFLUENCE`), and nothing of it failed.
    Run folders appear whole or not at all, so an interrupted run has none and starts again; what
    it extracted is not lost: all runs share one feature cache, by image and feature space.
    """
    folder = out / RUNS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        for leftover in folder.glob("*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        outcomes: dict[str, Outcome] = {}
        for run in planned:
            seconds = finished_seconds(folder / run.name, run)
            if seconds is not None:
                outcomes[run.name] = Outcome(run, folder / run.name, "kept", seconds)
                listener.end(outcomes[run.name])
        for number, run in enumerate(planned, start=1):
            if run.name in outcomes:
                continue
            waiting = [one for one in planned[number - 1 :] if one.name not in outcomes]
            left = remaining_seconds(waiting, list(outcomes.values()))
            listener.begin(run, number, len(planned), left)
            outcomes[run.name] = _attempt(run, index, folder / run.name, listener)
            listener.end(outcomes[run.name])
            _write_summary(out, planned, outcomes)
    _write_summary(out, planned, outcomes)
    return [outcomes[run.name] for run in planned]


def finished_seconds(folder: Path, run: PlannedRun) -> float | None:
    """Seconds that a finished run of the same settings took; None if there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        same = (
            found["status"] == "completed"
            and found["method"] == run.method
            and _relevant(found["settings"]) == _relevant(run.settings.absolute().to_run_config())
        )
        return float(found["seconds"]["total"]) if same and not _failed_parts(folder) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Not there, cut off, or of another version: run it again.
        return None


def remaining_seconds(waiting: Sequence[PlannedRun], done: Sequence[Outcome]) -> float | None:
    """Estimate how long some runs will take from those that are done.

    Parameters
    ----------
    waiting : sequence of PlannedRun
    done : sequence of Outcome
        Failed ones are not counted: they may have ended early.

    Returns
    -------
    float or None
        The sum of the median of the finished runs of each run's kind, or of all finished runs
        where its kind has none; None before the first run has finished.
    """
    finished = [one for one in done if one.status != "failed"]
    if not finished:
        return None
    overall = statistics.median(one.seconds for one in finished)
    left = 0.0
    for run in waiting:
        own = [one.seconds for one in finished if one.run.kind == run.kind]
        left += statistics.median(own) if own else overall
    return left


def report_experiment(outcomes: Sequence[Outcome], index: DataIndex, out: Path) -> Path:
    """Write `report.html` about all runs, with a gallery of best and worst cases.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Of `run_experiment`. Failed runs are named with their reason.
    index : DataIndex
        The images of the gallery; they are on this machine, as the stations are simulated.
    out : Path
        Folder of the experiment.

    Returns
    -------
    Path

    Raises
    ------
    RunError
        If no run left anything to report.
    """
    written = [one for one in outcomes if (one.folder / "run.json").is_file()]
    usable = [one for one in written if one.status != "failed"]
    if not usable:
        raise RunError("no run was completed, so there is nothing to compare")
    # The heat maps of a federated run, if there is one: that is what the comparison is about.
    models = [one for one in usable if (one.folder / "model").is_dir()]
    models.sort(key=lambda one: one.run.kind != "federated")
    gallery = best_and_worst(models[0].folder, index) if models else None
    return write_report([one.folder for one in written], out / "report.html", gallery=gallery)


def _attempt(run: PlannedRun, index: DataIndex, folder: Path, listener: Listener) -> Outcome:
    """One run; its failure becomes its outcome, and a run folder that says so."""
    started, begun = time.monotonic(), datetime.now(UTC)
    error = None
    try:
        _execute(run.kind, run.settings.with_(output_dir=str(folder)), index, folder, listener)
    except Exception as problem:
        error = reason(problem)
        if not _written_since(folder, begun):
            # Else the report would show an earlier run with other settings in its place.
            failed = run.settings.with_(output_dir=str(folder))
            write_run(RunRecord(failed, run.method, begun, status="failed", error=error), folder)
    seconds = time.monotonic() - started
    return Outcome(run, folder, "failed" if error else "completed", seconds, error)


def _execute(
    kind: str, settings: Settings, index: DataIndex, folder: Path, listener: Listener
) -> None:
    def watch(place: str, step: str, done: int, total: int) -> None:
        listener.step(f"{place}: {step}", done, total)

    if kind == "centralized":
        result = run_baseline(settings, index, folder, watch)
        if result.errors:
            category, problem = next(iter(result.errors.items()))
            raise RunError(
                f"{len(result.errors)} of {len(result.summary)} categories failed, first "
                f"{category}: {problem}"
            )
    elif kind == "local":
        run_local(settings, index, folder, watch)
    else:
        run_simulation(settings, lambda text: listener.step(text, 0, 0))
    if missed := _unevaluated(folder):
        raise RunError(f"not all was evaluated: {'; '.join(missed)}")


def _unevaluated(folder: Path) -> list[str]:
    run: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return [str(what) for what in run.get("unevaluated") or []]


def _failed_parts(folder: Path) -> bool:
    """Whether a run left something out that failed."""
    if _unevaluated(folder):
        return True
    path = folder / "training_summary.json"
    if not path.is_file():
        return False
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return any(facts["status"] != "completed" for facts in summary.values())


def _written_since(folder: Path, begun: datetime) -> bool:
    path = folder / "run.json"
    return path.is_file() and path.stat().st_mtime >= begun.timestamp()


def _relevant(settings: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in settings.items() if key not in NO_INFLUENCE}
    if found.get("backbone", AUTO) != AUTO:  # a run tells its layers by name
        found["layers"] = find_backbone(found["backbone"]).used(str(found["layers"]))
    return found


def _write_summary(out: Path, planned: Sequence[PlannedRun], outcomes: dict[str, Outcome]) -> None:
    """`experiment.json`: what became of every run, for people who come back after a night."""
    runs: list[dict[str, Any]] = []
    for run in planned:
        found = outcomes.get(run.name)
        runs.append(
            {
                "name": run.name,
                "status": found.status if found else "waiting",
                "seconds": round(found.seconds, 3) if found else None,
                "error": found.error if found else None,
            }
        )
    write_whole(out / SUMMARY_FILE, json_text({"runs": runs}) + "\n")


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second experiment out of the folder; the lock ends with the process."""
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{out}: another experiment is at work there; wait for it or give another --out"
            ) from None
        yield
