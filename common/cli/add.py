"""`add`: new good images into a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.cli.console import console, styled
from common.cli.line.successor import admitted, next_version
from common.cli.model_options import (
    CategoryOption,
    ModelArgument,
    print_range,
    short,
    station_file,
)
from common.cli.shared import SetOption, at_work, changed, progress_bar, usable_out
from common.errors import InputError
from common.runs.honoured import require_used
from common.system.garbage import imported_for_good

_REASON = "good parts added at the station"


def add(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(help="Images or folders of GOOD parts.")],
    category: CategoryOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the new model here; else beside the old one."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Most rows to add; by default a tenth of the bank's.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Add images, too, that score above the threshold.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be added, and write nothing.")
    ] = False,
    changes: SetOption = None,
) -> None:
    """Take new normal images into a model without a refit.

    What they show counts as normal from now on, so images that the model calls anomalous are
    refused unless you say --yes. The old model stays as it is: the new one is MODEL.1 beside it
    (MODEL.2 the next time), or, for a station.toml, a new version of the station's, which judges
    once it has passed the station's acceptance test, unless the file says activate = "manual".
    Refused: exit code 1, and the old one goes on judging. It names its parent, and keeps the names
    and contents' sha256 of what was added. Its threshold still holds what it promised; drift is
    unknown until the model is calibrated again.

    Example: fedpatchcore add outputs/iid new_good_parts/ --category tank_screw
    """
    out = None if out is None else usable_out(out, whole=True)
    own = changed(changes)
    require_used("add", changes)
    station = station_file(model)
    if station is not None and out is not None:
        raise InputError(
            f"--out {out}: a station's new version goes into its models folder; leave --out out, "
            "or give a model folder"
        )

    with imported_for_good():
        from common.inspection.growth import add_images
        from common.inspection.images import find_images

    successor, computing = None, own
    if station is not None:
        from common.plant.station.own_images import how_to_compute

        successor, computing = next_version(station, _REASON, own), how_to_compute(station, own)
    found = [one.path for one in find_images(images)]
    with at_work(), progress_bar("adding") as bar:
        growth = add_images(
            model if successor is None else successor.parent.folder,
            found,
            category=category,
            out=out,
            write=None if successor is None else successor.write,
            most_rows=rows,
            progress=lambda done, total: bar("adding", done, total),
            changes=computing,
            suspicious=yes,
            dry_run=dry_run,
        )
    print_range(found)
    if dry_run:
        for one in growth.judged:
            word, style = ("anomalous", "bold red") if one.anomalous else ("good", "green")
            console.print(
                styled(f"{word:9}", style),
                f"{one.score:9.4f}  {short(one.path)}",
                highlight=False,
                soft_wrap=True,
            )
    console.print(f"bank {growth.bank}: {growth.sentence}", highlight=False, soft_wrap=True)
    if growth.folder is not None:
        console.print(f"Written: {growth.folder}", highlight=False, soft_wrap=True)
        if successor is not None and station is not None:
            admitted(successor, station)
