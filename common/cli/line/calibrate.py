"""`calibrate`: a new threshold from good parts of today, in a new model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.cli.line.successor import ThresholdChange
from common.cli.model_options import ModelArgument, login, print_range
from common.cli.shared import SetOption, at_work, changed, progress_bar
from common.data.names import normal
from common.runs.honoured import require_used
from common.system.garbage import imported_for_good


def calibrate(
    model: ModelArgument,
    category: Annotated[str, typer.Option(callback=normal, help="The part.")],
    images: Annotated[
        list[Path], typer.Option("--from", help="Images or folders of GOOD parts of today.")
    ],
    rate: Annotated[
        float | None,
        typer.Option(help="Share of good parts that may be judged anomalous, as 0.05."),
    ] = None,
    station: Annotated[
        str | None,
        typer.Option(help="Set this station's own threshold, not that of all stations."),
    ] = None,
    changes: SetOption = None,
) -> None:
    """Set a threshold anew, from good parts that the bank has not seen.

    Drift is told from their scores from then on.

    The old model stays as it is: the new one is MODEL.1 beside it, or, for a station.toml, a new
    version of the station's, which judges once it has passed the station's acceptance test, unless
    the file says activate = "manual". Refused: exit code 1, and the old one goes on judging.

    Example: fedpatchcore calibrate outputs/iid --category tank_screw --from good_parts_of_today/
    """
    own = changed(changes)
    require_used("calibrate", changes)
    with imported_for_good():
        from common.inspection.images import find_images
        from common.inspection.recalibrate import recalibrate

    found = [one.path for one in find_images(images)]
    work = ThresholdChange(model, station, f"threshold of {category} calibrated", own)
    with at_work(), progress_bar("judging") as bar:
        made = recalibrate(
            work.place,
            found,
            category,
            by=login(),
            rate=rate,
            station=work.station,
            merged=station is None,
            changes=work.changes,
            progress=lambda done, total: bar("judging", done, total),
        )
    print_range(found)
    work.write(made, category)
