"""`calibrate`: a new threshold from good parts of today, in a new model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cli.console import note
from common.cli.line.successor import ThresholdChange
from common.cli.model_options import ModelArgument, login, print_range
from common.cli.shared import SetOption, at_work, changed, progress_bar
from common.data.names import normal
from common.errors import InputError
from common.runs.honoured import require_used
from common.system.garbage import imported_for_good

if TYPE_CHECKING:
    from common.inspection.hand_threshold import HandSet


def calibrate(
    model: ModelArgument,
    category: Annotated[str, typer.Option(callback=normal, help="The part.")],
    images: Annotated[
        list[Path],
        typer.Option(
            "--from", help="Images or folders of GOOD parts of today, or the line's journal."
        ),
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

    Drift is told from their scores from then on. --from a journal takes the parts that people have
    reviewed as good, with the scores that this very model gave them, if there are enough for the
    rate: nothing is judged again.

    The old model stays as it is: the new one is MODEL.1 beside it, or, for a station.toml, a new
    version of the station's, which judges once it has passed the station's acceptance test, unless
    the file says activate = "manual". Refused: exit code 1, and the old one goes on judging.

    Example: fedpatchcore calibrate outputs/iid --category tank_screw --from good_parts_of_today/

    Example: fedpatchcore calibrate station.toml --category tank_screw --from /var/lib/line/journal
    """
    own = changed(changes)
    require_used("calibrate", changes)
    with imported_for_good():
        from common.inspection.images import find_images
        from common.inspection.recalibrate import recalibrate

    work = ThresholdChange(model, station, f"threshold of {category} calibrated", own)
    if (journal := _journal(images)) is not None:
        work.write(_from_journal(work, journal, category, rate, merged=station is None), category)
        return
    found = [one.path for one in find_images(images)]
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


def _journal(given: list[Path]) -> Path | None:
    """The journal among what was given, which must then be alone."""
    from common.line.journal.schema import DATABASE

    found = [path for path in given if (path / DATABASE).is_file()]
    if found and len(given) > 1:
        raise InputError(f"--from {found[0]}: is a journal; give it alone, or images")
    return found[0] if found else None


def _from_journal(
    work: ThresholdChange, place: Path, category: str, rate: float | None, merged: bool
) -> HandSet:
    """Set the threshold by the parts that people reviewed as good."""
    from common.inspection.recalibrate import added_images, from_scores, target_rate
    from common.line.journal import Journal
    from common.line.models.reviewed import (
        remarks,
        require_enough,
        reviewed_scores,
        same_rows,
    )
    from common.patchcore.model_store import SavedModel

    saved = SavedModel.load(work.place)
    target = target_rate(saved, category, rate)
    versions = work.place if work.described is None else work.described.models_dir
    with Journal.reading(place) as journal:
        found = reviewed_scores(journal, category, same_rows(work.place, versions, category))
    for content in added_images(saved) & set(found.good):
        del found.good[content]  # its score says nothing of new parts
    require_enough(found, target, category)
    made = from_scores(
        saved,
        category,
        list(found.good.values()),
        by=login(),
        rate=rate,
        station=work.station,
        merged=merged,
        what="reviewed parts of the journal",
    )
    for words in remarks(found, made.value):
        note(words)
    return made
