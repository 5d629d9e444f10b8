"""`plant superlink`, `executor`, `register`, `run`, `stop`, `status`; `result`: the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from common.cli.console import console, note, styled
from common.cli.plant_station import host_and_port
from common.cli.shared import SetOption, at_work, make_settings, tell_unused, usable_out
from common.errors import FedPatchCoreError, RunError
from common.paths import json_text
from common.runs.honoured import require_used
from common.system.service_log import log_to_output

KeysOption = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder `server` that `fedpatchcore keys` made.")
]
SuperLinkOption = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="The SuperLink, by a name on its certificate.")
]
RunsOption = Annotated[
    Path | None,
    typer.Option(
        "--runs",
        metavar="DIR",
        help="The server's folder of runs. Default: $FEDPATCHCORE_RUNS, else ~/.fedpatchcore/runs.",
    ),
]
_STATUS_STYLES = {"online": "green", "offline": "bold red", "registered": "yellow"}


def superlink(
    keys: KeysOption,
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of its database, which outlives it.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on: one that no station can reach.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Run Flower's SuperLink with TLS, station keys, and runs that survive its restart.

    Example: fedpatchcore plant superlink --keys keys/server --state /var/lib/fedpatchcore
    """
    from common.plant.server import compaction, daemons

    daemon = daemons.superlink(keys.absolute(), state, host, port)
    _say(f"SuperLink on {host}:{port}, database in {daemon.folder}")
    database = daemon.folder / daemons.DATABASE
    if done := compaction.prepare(database):
        _say(done)
    compaction.start_beside(database)
    daemon.become()


def executor(
    keys: KeysOption,
    superlink: SuperLinkOption,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the runs' results.")],
    trusted_app: Annotated[
        list[str],
        typer.Option(
            metavar="APP",
            help="Apps that may run here: installed, any, or a hash that `plant app` prints; may "
            "be repeated.",
        ),
    ] = ["installed"],  # noqa: B006  (typer copies it)
) -> None:
    """Run the server's part of every run; results go to RUNS/<run-id>/.

    Flower's SuperExec is started again when it ends. However a run ends, its run.json says how.

    Example: fedpatchcore plant executor --keys keys/server --superlink 127.0.0.1:8000 --runs runs
    """
    from common.plant.server import daemons
    from common.plant.server.watchman import watch

    address = _address(superlink)
    daemon = daemons.executor(keys.absolute(), address, runs, trusted_app)
    _say(f"executor for the SuperLink {address}, runs in {runs.absolute()}")
    log_to_output("executor")
    watch(daemon, runs.expanduser().absolute())


def register(
    keys: KeysOption,
    superlink: SuperLinkOption,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Let this station in no more; may be repeated."),
    ] = None,
) -> None:
    """Let the stations in whose public keys are in DIR/stations; safe to repeat.

    Example: fedpatchcore plant register --keys keys/server --superlink 127.0.0.1:8000

    Example: fedpatchcore plant register --keys keys/server --superlink 127.0.0.1:8000 --remove a
    """
    from common.plant.server import administration

    done = administration.register(_plant(keys, superlink), remove or [])
    for name, what in done.items():
        console.print(f"{name}: {what}", highlight=False)


def status(
    keys: KeysOption,
    superlink: SuperLinkOption,
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN_ID]")] = None,
    runs: RunsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Show who is registered and online, how the runs stand, and which station is stalled.

    What each station of a running run does stands in the server's folder of runs: there this
    tells it, and how a run ended that was killed.

    Example: fedpatchcore plant status --keys keys/server --superlink 127.0.0.1:8000
    """
    from common.plant.server import administration
    from common.plant.server.progress import RULE, told_runs
    from common.plant.server.results import runs_folder
    from common.plant.server.resuming import require_run_id

    if run_id is not None:
        require_run_id(run_id)
    plant = _plant(keys, superlink)
    nodes = administration.stations(plant)
    listed = told_runs(administration.runs(plant, run_id), runs_folder(runs), nodes)
    shown = [{"station": one.name, "status": one.status, "since": one.since} for one in nodes]
    for name in sorted(set(plant.members()) - {node.name for node in nodes}):
        shown.append({"station": name, "status": "not registered", "since": ""})
    if as_json:
        print(json_text({"stations": shown, "runs": listed, "stalled_rule": RULE}))
        return
    table = Table(title="Stations", title_justify="left")
    for heading in ("station", "status", "since"):
        table.add_column(heading)
    for one in shown:
        style = _STATUS_STYLES.get(one["status"], "bold red")
        table.add_row(one["station"] or "-", styled(one["status"], style), _time(one["since"]))
    console.print(table)
    console.print(_runs_table(listed))
    for one_run in listed:
        if one_run["delivery"] is not None:
            console.print(_delivery_line(one_run), highlight=False)
        if one_run["progress"] is not None:
            console.print(_progress_table(one_run["progress"]))
            note(RULE)
        elif one_run["result"]:
            console.print(
                f"What run {one_run['run_id']} left: `fedpatchcore result {one_run['run_id']} "
                "--out DIR`",
                highlight=False,
            )


def run(
    keys: KeysOption,
    superlink: SuperLinkOption,
    runs: RunsOption = None,
    changes: SetOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID",
            help="Run again what ended early: same settings, from what the stations still have.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Do not ask this station; may be repeated."),
    ] = None,
) -> None:
    """Submit a run to the plant, follow it and wait for its end; exit code 1 if it failed.

    Ctrl-C stops the following, not the run; `plant stop` ends it.

    Example: fedpatchcore plant run --keys keys/server --superlink 127.0.0.1:8000 --set seed=7

    Example: fedpatchcore plant run --keys keys/server --superlink 127.0.0.1:8000 --without clip-2
    """
    from common.plant.server import administration
    from common.plant.server.results import runs_folder
    from common.plant.server.resuming import resumed

    settings = make_settings(changes)
    if resume is not None:
        settings = resumed(resume, runs_folder(runs), changes or [])
    served = settings.evaluation == "server"  # then the server judges images of its own
    others = [text for text in changes or [] if not (served and text.startswith("data-root="))]
    require_used("plant run", others)
    tell_unused("plant run", settings, changes)
    plant = _plant(keys, superlink)
    settings = settings.with_(without=",".join(sorted({*settings.left_out, *(without or ())})))
    administration.require_members(plant, settings.left_out)
    submitted = ""

    def on_submitted(run_id: str) -> None:
        nonlocal submitted
        submitted = run_id
        console.print(f"Run {run_id} submitted", highlight=False)

    try:
        run_id = administration.run(
            plant,
            settings,
            on_submitted,
            lambda text: console.print(f"  {text}", style="dim", highlight=False),
        )
    except KeyboardInterrupt:
        if submitted:
            console.print(
                f"The run goes on. See `fedpatchcore plant status {submitted}`, which also says "
                "what it left when it has ended.",
                highlight=False,
            )
        raise
    except FedPatchCoreError:
        if submitted:
            _show_place(runs_folder(runs) / submitted, completed=False)
        raise
    _show_place(runs_folder(runs) / run_id, completed=True)


def deliver(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    keys: KeysOption,
    superlink: SuperLinkOption,
    runs: RunsOption = None,
    station: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only to this station; may be repeated."),
    ] = None,
) -> None:
    """Send an earlier run's model to the stations again; exit code 1 if one has not got it.

    For a station that was away, or for all of them, to go back to an earlier model. It is a short
    run of its own; run this on the server. Who has the model already says so and is sent no rows.

    Example: fedpatchcore plant deliver 1234567890 --keys keys/server --superlink 127.0.0.1:8000
    """
    from common.plant.server import administration
    from common.plant.server.redelivery import delivering
    from common.plant.server.results import runs_folder
    from common.runs.unfinished import settle

    plant, folder = _plant(keys, superlink), runs_folder(runs)
    settings = delivering(run_id, folder, plant.members(), station or [])
    try:
        own = administration.run(
            plant,
            settings,
            lambda own: console.print(f"Run {own} submitted", highlight=False),
            lambda text: console.print(f"  {text}", style="dim", highlight=False),
        )
    except RunError as error:
        raise RunError(f"the model of run {run_id} was not delivered: {error}") from error
    record = settle(folder / own) or {}
    asked = [one for one in record.get("stations") or [] if one["name"] not in settings.left_out]
    console.print(deliveries_table(asked))
    lost = [one["name"] for one in asked if not (one.get("delivery") or {}).get("stored")]
    lost = [n for n in lost if n not in _without_use(asked)]
    if lost:
        raise RunError(f"the model of run {run_id} did not come to {', '.join(lost)} (see above)")


def _without_use(stations: list[dict[str, Any]]) -> set[str]:
    told = {one["name"]: one.get("delivery") or {} for one in stations}
    return {name for name, one in told.items() if one.get("state") == "none"}


def deliveries_table(stations: list[dict[str, Any]]) -> Table:
    """Who has a run's model, by `stations` of its `run.json`."""
    table = Table(title="Model delivered to", title_justify="left")
    for heading in ("station", "state", "sha256", "why"):
        table.add_column(heading)
    for one in stations:
        found = one.get("delivery") or {}
        known = " (had it already)" if found.get("known") else ""
        table.add_row(
            one["name"],
            f"{found.get('state', '-')}{known}",
            str(found.get("model_sha256") or "")[:12],
            str(found.get("reason") or ""),
        )
    return table


def stop(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    keys: KeysOption,
    superlink: SuperLinkOption,
    runs: RunsOption = None,
) -> None:
    """End a run before its end; its run.json says that you did, and at which step.

    Example: fedpatchcore plant stop 1234567890 --keys keys/server --superlink 127.0.0.1:8000
    """
    from common.plant.server import resuming
    from common.plant.server.results import runs_folder

    begun = resuming.stop(_plant(keys, superlink), run_id)
    console.print(f"Run {run_id} stopped", highlight=False)
    folder = runs_folder(runs)
    with at_work():
        record = resuming.wait_for_record(folder / run_id)
        if record is None and not begun:
            record = resuming.write_stopped(folder, run_id)
    if record is None:
        note(
            "it has no record here: its folder of runs is elsewhere (--runs), or this user may "
            "not write there"
        )
    elif record["status"] == "running":
        note(
            "its process on the server has not heard of it yet; `fedpatchcore plant status "
            f"{run_id}` tells when it has"
        )
    else:
        console.print(str(record["error"] or record["status"]), highlight=False)


def result(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the run's files.")],
    runs: RunsOption = None,
) -> None:
    """Fetch the files of a run that a real plant has made; run this on the server.

    Exit code 1 if the run had failed: its run.json says why.

    Example: fedpatchcore result 1234567890 --out outputs/plant --runs /var/lib/fedpatchcore/runs
    """
    from common.cli.runs import print_run
    from common.plant.server.results import fetch_result, result_failed, runs_folder

    out = usable_out(out, whole=True)
    with at_work():
        folder = fetch_result(run_id, out, runs_folder(runs))
    print_run(folder)
    failure = result_failed(folder)
    if failure is not None:
        raise RunError(f"run {run_id} failed: {failure}")


def _show_place(folder: Path, *, completed: bool) -> None:
    """Say what a run has left, and never name what will not be there."""
    from common.cli.runs import print_run
    from common.runs.unfinished import settle, where

    record = settle(folder)
    if record is None:
        console.print(
            f"The run's files are on the server; fetch them there: `fedpatchcore result "
            f"{folder.name} --out DIR`"
            if completed
            else f"What it left, if it had begun, `fedpatchcore plant status {folder.name}` says "
            "on the server",
            highlight=False,
        )
    elif record["status"] == "running":
        console.print(
            f"Its process on the server has not ended: {where(record)}; see `fedpatchcore plant "
            f"status {folder.name}`",
            highlight=False,
        )
    else:
        print_run(folder)


def _plant(keys: Path, superlink: str) -> Any:
    from common.plant.server.administration import Plant

    return Plant(keys.absolute(), _address(superlink))


def _address(text: str) -> str:
    host, port = host_and_port(text)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _runs_table(runs: list[dict[str, Any]]) -> Table:
    table = Table(title="Runs", title_justify="left")
    for heading in ("run id", "status", "elapsed", "details"):
        table.add_column(heading)
    for one in runs:
        elapsed = f"{one['elapsed']:.0f} s"
        table.add_row(one["run_id"], one["status"], elapsed, one["details"])
    return table


def _delivery_line(run: dict[str, Any]) -> str:
    of, stations = run["delivery"]["model_of"], run["delivery"]["stations"]
    whose = "its model" if of == run["run_id"] else f"the model of run {of}"
    return f"Run {run['run_id']} delivers {whose} to {', '.join(stations) or 'no station yet'}"


def _progress_table(progress: dict[str, Any]) -> Table:
    told = f" of round {progress['round']}" if progress["round"] else ""
    title = f"Run {progress['run_id']}: {progress['step']}{told} since {_time(progress['since'])}"
    table = Table(title=title, title_justify="left")
    for heading in ("station", "step", "state", "since", "seconds", ""):
        table.add_column(heading)
    for one in progress["stations"]:
        seconds = "" if one["seconds"] is None else f"{one['seconds']:.0f}"
        stalled = styled(f"stalled: {one['stalled']}", "bold red") if one["stalled"] else ""
        since = _time(one["since"])
        table.add_row(one["name"], one["step"], one["state"], since, seconds, stalled)
    return table


def _time(iso: str) -> str:
    return iso[:19].replace("T", " ") + " UTC" if iso else ""


def _say(text: str) -> None:
    """Tell before the process becomes another program: what is buffered would be lost."""
    print(text, flush=True, file=sys.stdout)
