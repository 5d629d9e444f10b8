"""`experiment`: a set of runs on one data folder, then the report of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from common.cli.console import console, styled
from common.cli.shared import at_work, open_data, progress_bar, settle_weights, usable_out
from common.errors import RunError

if TYPE_CHECKING:
    from common.runs.experiment import Outcome
    from common.runs.experiment_plan import PlannedRun


def experiment(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="What to run.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default outputs/<name of the file>.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data folder instead of the one in the file.")
    ] = None,
) -> None:
    """Run methods x partitions x bank scopes x aggregations x seeds, then write the report.

    Start it again after an interruption: finished runs with the same settings are kept.

    Example: fedpatchcore experiment experiments/quick.yaml --out outputs/quick
    """
    from common.runs.experiment_plan import read_plan

    plan = read_plan(file)
    out = usable_out(out or Path("outputs") / file.stem)

    from common.data.demo_data import demo_data
    from common.runs.experiment import report_experiment, run_experiment
    from common.runs.experiment_network import with_network_of

    root = data or plan.data
    if root is None:
        console.print("No data folder is named: the SYNTHETIC data set is used.")
        root = demo_data()
    index = open_data(root)
    settings = with_network_of(out, plan.settings.with_(data_root=str(root)))
    settings = settle_weights(settings)
    planned = plan.runs(settings.absolute())
    console.print(
        f"{len(planned)} runs on {len(index.samples)} images of {len(index.categories)} "
        f"categories in {root}",
        highlight=False,
        soft_wrap=True,
    )
    with at_work():
        with progress_bar("experiment") as show:
            outcomes = run_experiment(planned, index, out, _Lines(show))
        console.print(_table(outcomes))
        report = report_experiment(outcomes, index, out)
    console.print(f"Written: {report}", highlight=False, soft_wrap=True)
    failed = [one for one in outcomes if one.status == "failed"]
    if failed:
        reasons = "; ".join(f"{one.run.name}: {one.error}" for one in failed)
        raise RunError(f"{len(failed)} of {len(outcomes)} runs failed: {reasons}")


class _Lines:
    """One line a run, and a bar below it in a terminal."""

    def __init__(self, show: Callable[[str, int, int], Any]) -> None:
        self.show, self.kept = show, 0

    def begin(self, run: PlannedRun, number: int, total: int, left: float | None) -> None:
        from common.analysis.wording import duration

        if self.kept:
            console.print(f"{self.kept} finished runs with the same settings are kept")
            self.kept = 0
        rest = "time left unknown yet" if left is None else f"about {duration(left)} left"
        console.print(styled(f"[{number}/{total}]", "bold"), f"{run.name}  ({rest})")

    def step(self, text: str, done: int, total: int) -> None:
        self.show(text, done, total)

    def end(self, outcome: Outcome) -> None:
        if outcome.status == "kept":
            self.kept += 1
        elif outcome.status == "failed":
            console.print(styled("  failed:", "bold red"), str(outcome.error))


def _table(outcomes: Sequence[Outcome]) -> Table:
    from common.analysis.wording import duration

    table = Table(title="Runs, with their means over the categories", title_justify="left")
    table.add_column("run", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for name in ("AUC-sPRO @0.05", "image AUROC"):
        table.add_column(name, justify="right", min_width=8)
    for one in outcomes:
        values = ("-", "-") if one.status == "failed" else _means(one.folder)
        table.add_row(one.run.name, one.status, duration(one.seconds), *values)
    return table


def _means(folder: Path) -> tuple[str, str]:
    """Means over categories; where one category lacks the number, no mean is made up."""
    from common.analysis import load_run
    from common.analysis.runs import metric_value

    run = load_run(folder)
    found = []
    for path in (("localization", "auc_spro", "0.05"), ("classification", "auc_roc")):
        values = [
            metric_value(metrics, path)
            for by_category in run.metrics.values()
            for metrics in by_category.values()
        ]
        known = [value for value in values if value is not None]
        complete = known and len(known) == len(values)
        found.append(f"{sum(known) / len(known):.4f}" if complete else "-")
    return found[0], found[1]
