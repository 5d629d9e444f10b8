"""`explore`: what a data folder holds, as tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from common.cli.console import console, note
from common.cli.shared import at_work, open_data, usable_out

if TYPE_CHECKING:
    import pandas as pd


def explore(
    data: Annotated[Path, typer.Argument(help="Data folder, AutoVI or MVTec layout.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and pictures.")],
    stations: Annotated[int, typer.Option(help="Stations of the partition preview.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the partition preview.")] = 42,
) -> None:
    """Count, measure and show the images of a data folder, before anything is trained.

    Example: fedpatchcore explore data/autovi --out outputs/explore
    """
    out = usable_out(out)
    index = open_data(data)

    from common.analysis.exploration import explore_data

    with at_work():
        found = explore_data(index, out, num_stations=stations, seed=seed)
    what = "SYNTHETIC data, " if index.synthetic else ""
    counts, sizes = found.tables["statistics"], found.tables["sizes"].reset_index()
    counts = counts.assign(
        **{
            "size (width x height)": [
                ", ".join(f"{row.width}x{row.height}" for row in own.itertuples())
                for own in (sizes[sizes["category"] == name] for name in counts.index)
            ]
        }
    )
    console.print(_table(f"{what}{len(index.samples)} images in {data}", counts))
    defects = found.tables["defect_types"]
    if len(defects):
        console.print(_table("Defect types (test images)", defects.reset_index("defect_type")))
    else:
        console.print("No defective test image: a model can be built, but not measured.")
    for name in ("iid", "category"):
        if f"partition_{name}" in found.tables:
            title = f"{name} partition over {stations} stations, training images"
            console.print(_table(title, found.tables[f"partition_{name}"]))
    for notice in found.notices:
        note(notice)
    console.print(
        f"Written: {len(found.tables)} tables and {len(found.pictures)} pictures in {out}",
        highlight=False,
        soft_wrap=True,
    )


def _table(title: str, content: pd.DataFrame) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(str(content.index.name), no_wrap=True)
    for name in content.columns:
        words = content[name].dtype == object or str(content[name].dtype).startswith("str")
        table.add_column(
            str(name).replace("_", " "), justify="left" if words else "right", overflow="fold"
        )
    for label, row in content.iterrows():
        table.add_row(str(label), *map(str, row))
    return table
