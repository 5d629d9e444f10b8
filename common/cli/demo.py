"""`demo`: the whole way on synthetic data, in a few minutes."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.panel import Panel
from rich.table import Table

from common.cli.console import console, note, styled
from common.cli.runs import federate_with
from common.cli.shared import (
    SetOption,
    at_work,
    make_settings,
    progress_bar,
    settle_weights,
    tell_unused,
    usable_out,
)
from common.config import Settings
from common.data.layout import index_data
from common.errors import InputError
from common.runs.honoured import require_used

IMAGES: Final = 12
SIZE: Final = 96
FETCH_SECONDS: Final = 20.0
MARKER: Final = ".fedpatchcore-demo"


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demonstration.")] = Path(
        "outputs/demo"
    ),
    changes: SetOption = None,
) -> None:
    """Compare centralized, federated IID and federated category runs on a synthetic data set.

    Everything is real but the images: Flower starts five stations as processes of their own.

    Example: fedpatchcore demo --out outputs/demo
    """
    from common.analysis.report import write_report
    from common.data.synthetic import write_synthetic
    from common.runs.baseline import run_baseline

    started = time.monotonic()
    out = usable_out(out)
    data = out / "data"
    settings = make_settings(changes, data_root=str(data), global_bank_size=2000).absolute()
    require_used("demo", changes)
    tell_unused("demo", settings, changes)
    _clear(out)
    console.print(
        Panel(
            "Five stations of a car plant, six parts, images that stay at their station.\n\n"
            "1. draw a small SYNTHETIC data set\n"
            "2. centralized PatchCore: what all images in one place would give\n"
            "3. federated, images dealt out at random (IID)\n"
            "4. federated, every station its own parts\n"
            "5. the comparison and a report",
            title="fedpatchcore demo",
        )
    )
    with at_work(), progress_bar("drawing") as show:
        write_synthetic(
            data,
            images=IMAGES,
            size=SIZE,
            seed=settings.seed,
            progress=lambda done, total: show("drawing", done, total),
        )
    index = index_data(data)
    console.print(
        f"1. {len(index.samples)} synthetic images of six parts in {data}", soft_wrap=True
    )
    settings = settle_weights(settings, patience=FETCH_SECONDS)
    runs = {name: out / name for name in ("centralized", "federated_iid", "federated_category")}

    console.print("2. centralized: all images in one place")
    with at_work(), progress_bar("centralized") as show:
        run_baseline(
            settings.with_(output_dir=str(runs["centralized"])),
            index,
            runs["centralized"],
            lambda category, step, done, total: show(f"{category}: {step}", done, total),
        )
    for number, partition in ((3, "iid"), (4, "category")):
        console.print(f"{number}. federated, {partition} partition: five Flower stations")
        folder = runs[f"federated_{partition}"]
        federate_with(settings.with_(partition=partition, output_dir=str(folder)))
    with at_work():
        report = write_report(list(runs.values()), out / "report.html")
    _print_comparison(runs, settings)
    console.print(
        f"5. report: {report}   (all in {time.monotonic() - started:.0f} s)",
        highlight=False,
        soft_wrap=True,
    )


def _print_comparison(runs: dict[str, Path], settings: Settings) -> None:
    from common.analysis import create_comparison_table
    from common.analysis.tables import results_table, with_mean_row
    from common.evaluation import load_metrics

    results = {}
    for folder in runs.values():
        results.update(load_metrics(folder))
    comparison = create_comparison_table(results, "0.05")
    ranking = with_mean_row(results_table(results, ("classification", "auc_roc")))
    table = Table(
        title=f"AUC-sPRO at FPR limit 0.05, and image AUROC: SYNTHETIC images, {settings.backbone}",
        title_justify="left",
    )
    table.add_column("category")
    for method in comparison.columns:
        table.add_column(str(method), justify="right")
    for (category, located), (_, ranked) in zip(
        comparison.iterrows(), ranking.iterrows(), strict=True
    ):
        pairs = zip(located, ranked, strict=True)
        table.add_row(str(category), *("  ".join(map(_shown, pair)) for pair in pairs))
    console.print(table)
    if settings.weights == "random":
        console.print(
            styled(
                "These figures come from RANDOM network weights on drawings: they show that "
                "everything runs, and say nothing about PatchCore's quality.",
                "bold yellow",
            )
        )
    else:
        note("drawings are easier than parts: real ones will find fewer of their defects")


def _shown(value: float) -> str:
    return "    -" if math.isnan(value) else f"{value:.3f}"


def _clear(out: Path) -> None:
    """Remove an earlier demonstration, and nothing else."""
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise InputError(f"--out {out}: holds files that no demo wrote; give a new folder")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
