"""`threshold`: a threshold set by hand, with its reason, in a new model."""

from __future__ import annotations

from typing import Annotated

import typer

from common.cli.line.successor import ThresholdChange
from common.cli.model_options import ModelArgument, login
from common.data.names import normal
from common.system.garbage import imported_for_good


def threshold(
    model: ModelArgument,
    category: Annotated[str, typer.Option(callback=normal, help="The part.")],
    value: Annotated[float, typer.Option(help="An image is anomalous if its score is above.")],
    reason: Annotated[str, typer.Option(help="Why, in words; kept in the model.")],
    station: Annotated[
        str | None,
        typer.Option(help="Set this station's own threshold, not that of all stations."),
    ] = None,
) -> None:
    """Set a threshold by hand: in a new model, which keeps value, reason, when, who and before.

    The old model stays as it is: the new one is MODEL.1 beside it, or, for a station.toml, a new
    version of the station's, which judges once it has passed the station's acceptance test, unless
    the file says activate = "manual" (refused: exit code 1, and the old one goes on judging). There
    it is set for all stations' and for the station's own threshold. Says what the held-out good
    images support at that value.

    Example: fedpatchcore threshold /etc/fedpatchcore/station/station.toml --category tank_screw
    --value 41.5 --reason "new lamp, approved by quality"
    """
    with imported_for_good():
        from common.inspection.hand_threshold import set_threshold
        from common.line.models.successor import by_hand
        from common.patchcore.model_store import SavedModel

    work = ThresholdChange(model, station, by_hand(category, reason))
    made = set_threshold(
        SavedModel.load(work.place),
        category,
        value,
        reason=reason,
        by=login(),
        station=work.station,
        merged=station is None,
    )
    work.write(made, category)
