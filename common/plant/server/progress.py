"""How the runs of a plant stand, station by station: who is asked for what, and who is stalled."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.plant.server.control import RegisteredNode
from common.runs.unfinished import DELIVERING, is_held, is_running, settle

STALLED_SECONDS: Final = 60.0
STALLED_TIMES: Final = 3.0
RULE: Final = (
    f"stalled: its SuperNode is offline, or it has not answered for {STALLED_TIMES:.0f} times as "
    f"long as the slowest of the others took, and for more than {STALLED_SECONDS:.0f} s"
)


def told_runs(
    listed: Sequence[Mapping[str, Any]], runs: Path, nodes: Sequence[RegisteredNode]
) -> list[dict[str, Any]]:
    """What Flower tells of runs, with what their records tell where these can be read.

    Parameters
    ----------
    listed : sequence of mapping
        As `flwr list` gives them.
    runs : Path
        The server's folder of runs. Who was killed there without a word gets his record now.
    nodes : sequence of RegisteredNode

    Returns
    -------
    list of dict
        `run_id`, `status` (Flower's), `elapsed` (seconds), `details`, `record` (how it stands by
        its record, or None), `progress` (`progress_of`), `delivery` (`delivery_of`), `result`:
        whether there is one.
    """
    return [_told(one, runs, nodes) for one in listed]


def _told(one: Mapping[str, Any], runs: Path, nodes: Sequence[RegisteredNode]) -> dict[str, Any]:
    run_id = str(one["run-id"])
    record = (settle(runs / run_id) if run_id.isdigit() else None) or {}
    details = str(one.get("status-details") or "")
    return {
        "run_id": run_id,
        "status": str(one["status"]),
        "elapsed": float(one.get("elapsed") or 0),
        "details": str(record.get("error") or ("" if details == "N/A" else details)),
        "record": record.get("status"),
        "progress": progress_of(record, nodes) if record else None,
        "delivery": delivery_of(record, runs / run_id) if record else None,
        "result": bool(record) and not is_running(record),
    }


def progress_of(
    record: Mapping[str, Any],
    nodes: Sequence[RegisteredNode],
    now: datetime | None = None,
) -> dict[str, Any] | None:
    """How a running run stands; None for one that has ended, or does not tell.

    Parameters
    ----------
    record : mapping
        Its `run.json`.
    nodes : sequence of RegisteredNode
        The stations as the SuperLink knows them.
    now : datetime, optional

    Returns
    -------
    dict
        `run_id`, `step`, `round`, `since`, `stations`, a list of `{name, step, state, since,
        seconds, stalled}`: `state` is `asked`, `answered` or `failed`, `seconds` how long it has
        taken or takes so far, `stalled` a sentence or None. No node ids.
    """
    progress = record.get("progress")
    if not is_running(dict(record)) or not isinstance(progress, dict):
        return None
    now = now or datetime.now(UTC)
    away = {node.name for node in nodes if node.status != "online"}
    told = [one for one in progress.get("stations") or [] if isinstance(one, dict)]
    return {
        "run_id": str(record.get("flower_run_id")),
        "step": str(progress.get("step")),
        "round": progress.get("round"),
        "since": str(progress.get("since")),
        "stations": [_station(one, told, away, now) for one in told],
    }


def delivery_of(record: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Whose model a run delivers at this moment, and to whom; None if it delivers nothing.

    Parameters
    ----------
    record : mapping
        Its `run.json`. A run that delivers its own model has written that it completed.
    folder : Path
        Of the run, which its process holds to the end of the delivery.

    Returns
    -------
    dict
        `model_of` (a run id), `stations`: names.
    """
    settings, listed = record.get("settings") or {}, record.get("stations") or []
    stations = [one for one in listed if isinstance(one, dict)]
    if is_running(dict(record)):
        if not settings.get("deliver"):
            return None
        without = str(settings.get("without") or "").split(",")
        asked = [one for one in stations if one.get("status") == "used"]
        names = [str(one["name"]) for one in asked if one["name"] not in without]
        return {"model_of": str(settings["deliver"]), "stations": names}
    names = [
        str(s["name"]) for s in stations if (s.get("delivery") or {}).get("state") == DELIVERING
    ]
    if not names or not is_held(folder):
        return None
    return {"model_of": str(record.get("flower_run_id")), "stations": names}


def _station(
    own: Mapping[str, Any],
    everyone: Sequence[Mapping[str, Any]],
    away: Collection[str],
    now: datetime,
) -> dict[str, Any]:
    shown = {key: own.get(key) for key in ("name", "step", "state", "since", "seconds")}
    if own.get("state") != "asked":
        return {**shown, "stalled": None}
    seconds = max(0.0, (now - _moment(str(own.get("since")), now)).total_seconds())
    others = [
        float(other["seconds"])
        for other in everyone
        if other.get("state") == "answered" and other.get("step") == own.get("step")
    ]
    stalled = None
    if own.get("name") in away:
        stalled = f"its SuperNode is offline; asked {seconds:.0f} s ago"
    elif others and seconds > max(STALLED_SECONDS, STALLED_TIMES * max(others)):
        stalled = f"no answer for {seconds:.0f} s; the others took at most {max(others):.0f} s"
    return {**shown, "seconds": round(seconds, 1), "stalled": stalled}


def _moment(iso: str, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(iso)
    except ValueError:
        return otherwise
