"""`synth` and `split`: data folders to try things on, and partitions laid out on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from common.cli.console import console, note
from common.cli.shared import at_work, make_settings, open_data, progress_bar, usable_out


def synth(
    folder: Annotated[Path, typer.Argument(help="New folder for the data set.")],
    images: Annotated[int, typer.Option(help="Good training images per category.")] = 20,
    size: Annotated[int, typer.Option(help="Side of the small categories in pixels.")] = 128,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 42,
    like_autovi: Annotated[
        bool, typer.Option("--like-autovi", help="AutoVI's own counts and sizes (large).")
    ] = False,
) -> None:
    """Write a synthetic data set of six drawn parts, laid out as AutoVI.

    Example: fedpatchcore synth data/synthetic --images 20 --size 128
    """
    from common.data.synthetic import write_synthetic

    folder = usable_out(folder, whole=True)
    with at_work(), progress_bar("drawing") as show:
        summary = write_synthetic(
            folder,
            images=images,
            size=size,
            seed=seed,
            like_autovi=like_autovi,
            progress=lambda done, total: show("drawing", done, total),
        )
    table = Table(title=f"Synthetic data set (drawings, not photographs) in {folder}")
    for name in ("category", "size", "train good", "test good", "defective", "regions"):
        table.add_column(name, justify="left" if name == "category" else "right")
    for name, facts in summary["categories"].items():
        counts, (height, width) = facts["counts"], facts["size"]
        good = counts["test/good"]
        tested = sum(n for key, n in counts.items() if key.startswith("test/"))
        row = (counts["train/good"], good, tested - good, facts["regions"])
        table.add_row(name, f"{width}x{height}", *map(str, row))
    console.print(table)


def split(
    data: Annotated[Path, typer.Argument(help="Data folder.")],
    out: Annotated[Path, typer.Option("--out", help="New folder, one sub-folder per station.")],
    partition: Annotated[str, typer.Option(help="iid, category or dirichlet.")] = "category",
    stations: Annotated[int, typer.Option(help="How many stations.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the partition.")] = 42,
    alpha: Annotated[float, typer.Option(help="Dirichlet's alpha.")] = 0.5,
) -> None:
    """Lay a partition out as one folder per station, as real stations would have it.

    Example: fedpatchcore split data/autovi --partition category --stations 5 --out plant/
    """
    from common.data.partition import compute_partition_stats, make_partition
    from common.data.split import lay_out

    settings = make_settings(
        None, partition=partition, num_stations=stations, seed=seed, dirichlet_alpha=alpha
    )
    out = usable_out(out, whole=True)
    index = open_data(data)
    made = make_partition(
        index.samples, settings.partition, stations, settings.seed, settings.dirichlet_alpha
    )
    with at_work():
        folders = lay_out(index, made, out)
    for notice in made.notices:
        note(notice)
    stats = compute_partition_stats(made.indices, index, names=made.names)
    table = Table(title=f"{partition} partition of {data} in {out}")
    table.add_column("station")
    for name in stats.columns:
        table.add_column(str(name), justify="right")
    for station, row in zip(folders, stats.to_numpy().tolist(), strict=True):
        table.add_row(station, *(str(value) for value in row))
    console.print(table)
