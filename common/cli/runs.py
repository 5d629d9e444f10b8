"""`baseline`, `federate` and `evaluate`: one run each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from common.cli.console import console, note, styled
from common.cli.model_options import model_and_station
from common.cli.shared import (
    SetOption,
    at_work,
    changed,
    make_settings,
    metrics_table,
    open_data,
    print_missing,
    progress_bar,
    run_folder,
    settle_weights,
    tell_unused,
    usable_out,
)
from common.config import Settings
from common.data.layout import index_data
from common.data.names import refusal
from common.errors import InputError, RunError
from common.paths import cache_folder
from common.runs.honoured import require_used

DataArgument = Annotated[Path, typer.Argument(help="Data folder, AutoVI or MVTec layout.")]
_VERDICT_STYLES = {"watch": "bold yellow", "quarantine": "bold red"}
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the run.")]


def baseline(data: DataArgument, out: OutOption, changes: SetOption = None) -> None:
    """Fit and evaluate PatchCore with all images in one place, category by category.

    Each category gets a bank of its own; --set bank-scope=shared makes one for all.

    Example: fedpatchcore baseline data/autovi --out outputs/centralized
    """
    out = run_folder(out)
    settings = make_settings(
        changes, data_root=str(data), output_dir=str(out), bank_scope="category"
    )
    require_used("baseline", changes)
    tell_unused("baseline", settings, changes)
    index = index_data(data)
    settings = settle_weights(settings)

    from common.runs.baseline import run_baseline

    with at_work(), progress_bar("baseline") as show:
        result = run_baseline(
            settings,
            index,
            out,
            lambda category, step, done, total: show(f"{category}: {step}", done, total),
        )
    print_run(out)
    if result.errors:
        raise RunError(
            f"{len(result.errors)} of {len(result.summary)} categories failed, see above"
        )


def federate(
    data: DataArgument,
    out: OutOption,
    partition: Annotated[
        str | None, typer.Option(help="iid, category (default) or dirichlet.")
    ] = None,
    changes: SetOption = None,
) -> None:
    """Run one federation in simulation, through Flower's own processes, and wait for its end.

    Example: fedpatchcore federate data/autovi --out outputs/iid --partition iid --set seed=7
    """
    out = run_folder(out)
    own = {"partition": partition} if partition else {}
    settings = make_settings(changes, data_root=str(data), output_dir=str(out), **own)
    require_used("federate", changes)
    if partition not in (None, settings.partition):
        raise InputError(
            f"--partition {partition} and --set partition={settings.partition}: give one of them"
        )
    tell_unused("federate", settings, changes)
    federate_with(settings)
    print_run(Path(settings.output_dir))


def federate_with(settings: Settings) -> None:
    """Look data and weights over, then run the simulation."""
    from common.data.partition import make_partition
    from common.runs.simulation import run_simulation

    index = open_data(Path(settings.data_root))
    make_partition(
        index.samples,
        settings.partition,
        settings.num_stations,
        settings.seed,
        settings.dirichlet_alpha,
    )
    settings = settle_weights(settings)
    cache_folder("simulation")
    with at_work(), console.status("starting Flower ...") as status:

        def on_step(text: str) -> None:
            console.print(f"  {text}", style="dim", highlight=False)
            status.update(styled(text, ""))

        run_simulation(settings, on_step)


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MODEL] DATA", help="A model or run folder, or a station.toml; the data."
        ),
    ],
    out: OutOption,
    maps: Annotated[
        Path | None, typer.Option("--maps", help="Evaluate these anomaly maps, not a model.")
    ] = None,
    export_maps: Annotated[
        Path | None, typer.Option("--export-maps", help="Write the maps as 16-bit PNG, too.")
    ] = None,
    station: Annotated[
        str | None,
        typer.Option(help="Judge by this station's own threshold and calibration."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Name of the metrics.")] = None,
    kinds: Annotated[
        Path | None, typer.Option(help="JSON: defect type -> structural or logical.")
    ] = None,
    changes: SetOption = None,
) -> None:
    """Measure a saved model, or anybody's anomaly maps, on the test images of a data folder.

    Example: fedpatchcore evaluate outputs/iid data/autovi --out outputs/check

    Example: fedpatchcore evaluate --maps maps/ data/autovi --out outputs/theirs --method theirs
    """
    out = run_folder(out)
    expected = 1 if maps else 2
    if len(paths) != expected:
        words = "one folder, DATA (with --maps)" if maps else "two folders, MODEL and DATA"
        raise InputError(f"evaluate takes {words}; found {len(paths)}")
    if method is not None and (reason := refusal(method)):
        raise InputError(f"--method {method}: names a folder of metrics, and {reason}")
    if maps is not None and export_maps is not None:
        raise InputError("--export-maps writes a model's maps; --maps brings maps: use one of them")
    if maps is not None and station is not None:
        raise InputError("--station picks a model's threshold; --maps brings maps and no model")
    own = changed(changes)
    require_used("evaluate --maps" if maps else "evaluate", changes)
    if maps is None:
        paths[0], station = model_and_station(paths[0], station)
    index = open_data(paths[-1])

    from common.evaluation import read_kinds
    from common.runs.evaluate import EvaluateOptions, evaluate_maps, evaluate_model

    if export_maps is not None:
        export_maps = usable_out(export_maps)
    options = EvaluateOptions(
        method=method,
        export_maps=export_maps,
        station=station,
        changes=own,
        kinds=read_kinds(kinds) if kinds else None,
    )
    work = evaluate_model if maps is None else evaluate_maps
    with at_work(), progress_bar("evaluating") as show:
        work(
            maps or paths[0],
            index,
            out,
            options,
            lambda category, step, done, total: show(f"{category}: {step}", done, total),
        )
    print_run(out)


_DELIVERY_STYLES = {"refused": "bold red", "failed": "bold red"}


def print_run(folder: Path) -> None:
    """Summarize a run folder for people.

    Raises
    ------
    RunError
        If something of the run could not be evaluated, after all has been printed.
    """
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    table = metrics_table(folder, _title(run))
    if table is not None:
        console.print(table)
        print_missing(folder)
    if run["stations"]:
        console.print(_stations_table(folder, run))
        _print_deliveries(run)
        _print_verdicts(run)
    missed = run.get("unevaluated") or []
    for what in missed:
        console.print(styled("Not evaluated:", "bold red"), str(what), soft_wrap=True)
    for notice in run["notices"]:
        note(notice)
    report = folder / "report.html"
    # A run that was killed has left its record alone.
    told = f" (report: {report})" if report.is_file() else " (run.json alone)"
    console.print(f"Written: {folder}{told}", highlight=False, soft_wrap=True)
    if missed:
        raise RunError(
            f"not all was evaluated ({len(missed)}, see above); what is written is whole"
        )


def _print_deliveries(run: dict[str, Any]) -> None:
    """Say where the model is active, and of every other station why it is not."""
    told = {one["name"]: one["delivery"] for one in run["stations"] if one.get("delivery")}
    active = [name for name, one in sorted(told.items()) if one["state"] == "active"]
    if active:
        console.print(styled("Model active:", "green"), ", ".join(active), soft_wrap=True)
    for name, one in sorted(told.items()):
        if one["state"] != "active":
            shown = styled(f"Model {one['state']}:", _DELIVERY_STYLES.get(one["state"], "yellow"))
            console.print(shown, f"{name}: {one['reason'] or ''}", soft_wrap=True)


def _print_verdicts(run: dict[str, Any]) -> None:
    """Say of every station that does not simply fit why not."""
    stations = (run.get("influence") or {}).get("stations") or {}
    for name, own in sorted(stations.items()):
        if own["verdict"] in _VERDICT_STYLES:
            shown = styled(f"{own['verdict']}:", _VERDICT_STYLES[own["verdict"]])
            sentence = str(own["sentence"]).removeprefix(f"{own['verdict']}: ")
            console.print(shown, f"{name}: {sentence}", soft_wrap=True)


def _title(run: dict[str, Any]) -> str:
    synthetic = "SYNTHETIC data, " if run["data"]["synthetic"] else ""
    weights = f"weights {run['feature_space']['weights']}, " if run["feature_space"] else ""
    bank = run["bank"]
    rows = f"{sum(bank['rows'].values())} rows ({bank['scope']}), " if bank else ""
    return f"{run['method']}: {synthetic}{weights}{rows}{run['seconds']['total']:.0f} s"


def _stations_table(folder: Path, run: dict[str, Any]) -> Table:
    brought, parts = folder / "contributions.json", []
    if brought.is_file():
        parts = json.loads(brought.read_text(encoding="utf-8"))["stations"]
    known = {part["name"]: part for part in parts}
    table = Table(title="Stations", title_justify="left")
    table.add_column("station")
    table.add_column("status")
    for name in ("images", "rows sent", "rows chosen", "MB up", "MB down"):
        table.add_column(name, justify="right")
    for station in run["stations"]:
        part = known.get(station["name"], {})
        values = [str(part.get(key, "-")) for key in ("images", "rows_sent", "rows_chosen")]
        traffic = [f"{station[key] / 1e6:.2f}" for key in ("bytes_up", "bytes_down")]
        table.add_row(station["name"], station["status"], *values, *traffic)
    return table
