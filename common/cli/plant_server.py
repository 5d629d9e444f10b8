"""`plant superlink`, `executor`, `register`, `run`, `status` and `result`: the server's side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from common.cli.console import console, styled
from common.cli.plant_station import host_and_port
from common.cli.shared import SetOption, at_work, make_settings, tell_unused, usable_out
from common.errors import FedPatchCoreError, InputError, RunError
from common.runs.honoured import require_used

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
    from common.plant.server import daemons

    daemon = daemons.superlink(keys.absolute(), state, host, port)
    _say(f"SuperLink on {host}:{port}, database in {daemon.folder}")
    daemon.become()


def executor(
    keys: KeysOption,
    superlink: SuperLinkOption,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the runs' results.")],
) -> None:
    """Run the server's part of every run; results go to RUNS/<run-id>/.

    Example: fedpatchcore plant executor --keys keys/server --superlink 127.0.0.1:8000 --runs runs
    """
    from common.plant.server import daemons

    address = _address(superlink)
    daemon = daemons.executor(keys.absolute(), address, runs)
    _say(f"executor for the SuperLink {address}, runs in {runs.absolute()}")
    daemon.become()


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
) -> None:
    """Show who is registered and online, and how the runs stand.

    Example: fedpatchcore plant status --keys keys/server --superlink 127.0.0.1:8000
    """
    from common.plant.server import administration

    if run_id is not None and not run_id.isdigit():
        raise InputError(f"run id {run_id!r}: expected digits, as `fedpatchcore plant run` prints")
    plant = _plant(keys, superlink)
    nodes = administration.stations(plant)
    table = Table(title="Stations", title_justify="left")
    for heading in ("station", "status", "since", "node id"):
        table.add_column(heading)
    for node in nodes:
        shown = styled(node.status, _STATUS_STYLES.get(node.status, ""))
        table.add_row(node.name or "-", shown, _time(node.since), str(node.node_id))
    for name in sorted(set(plant.members()) - {node.name for node in nodes}):
        table.add_row(name, styled("not registered", "bold red"), "", "")
    console.print(table)
    console.print(_runs_table(administration.runs(plant, run_id)))


def run(
    keys: KeysOption,
    superlink: SuperLinkOption,
    runs: RunsOption = None,
    changes: SetOption = None,
) -> None:
    """Submit a run to the plant, follow it and wait for its end; exit code 1 if it failed.

    Ctrl-C stops the following, not the run.

    Example: fedpatchcore plant run --keys keys/server --superlink 127.0.0.1:8000 --set seed=7
    """
    from common.plant.server import administration
    from common.plant.server.results import runs_folder

    settings = make_settings(changes)
    served = settings.evaluation == "server"  # then the server judges images of its own
    others = [text for text in changes or [] if not (served and text.startswith("data-root="))]
    require_used("plant run", others)
    tell_unused("plant run", settings, changes)
    plant = _plant(keys, superlink)
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
                f"The run goes on. See `fedpatchcore plant status {submitted}`; its result: "
                f"`fedpatchcore result {submitted} --out DIR` on the server.",
                highlight=False,
            )
        raise
    except FedPatchCoreError:
        if submitted:
            _show_place(runs_folder(runs) / submitted)
        raise
    _show_place(runs_folder(runs) / run_id)


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


def _show_place(folder: Path) -> None:
    if (folder / "run.json").is_file():
        from common.cli.runs import print_run

        print_run(folder)
    else:
        console.print(
            f"The run's files are on the server; fetch them there: `fedpatchcore result "
            f"{folder.name} --out DIR`",
            highlight=False,
        )


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
        table.add_row(
            str(one["run-id"]),
            str(one["status"]),
            f"{float(one.get('elapsed') or 0):.0f} s",
            _details(one),
        )
    return table


def _details(run: dict[str, Any]) -> str:
    told = str(run.get("status-details") or "")
    return "" if told == "N/A" else told


def _time(iso: str) -> str:
    return iso[:19].replace("T", " ") + " UTC" if iso else ""


def _say(text: str) -> None:
    """Tell before the process becomes another program: what is buffered would be lost."""
    print(text, flush=True, file=sys.stdout)
