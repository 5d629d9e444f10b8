"""`inspect`: judge images by a model, once or as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from common.cli.console import console, note, styled
from common.cli.model_options import (
    CategoryOption,
    ModelArgument,
    model_and_station,
    print_range,
    short,
)
from common.cli.shared import SetOption, at_work, changed, progress_bar, usable_out
from common.errors import InputError, RunError, explained
from common.errors import refused as was_refused
from common.runs.honoured import require_used
from common.system.files import write_whole
from common.system.garbage import imported_for_good

if TYPE_CHECKING:
    from common.inspection.inspector import Inspector, Result
    from common.inspection.verdict import Rule
    from common.inspection.watch import WatchOptions

_FIRST: Final = 8
_RESERVE: Final = 2048
"""Bytes of both files of results for one image, usually far less."""


def inspect(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for results and overlays.")],
    images: Annotated[
        list[Path] | None, typer.Argument(help="Images, and folders of images.")
    ] = None,
    category: CategoryOption = None,
    threshold: Annotated[
        float | None, typer.Option(help="Judge by this score instead of the model's threshold.")
    ] = None,
    station: Annotated[
        str | None,
        typer.Option(help="Judge by this station's own threshold, not by that of all stations."),
    ] = None,
    scores_only: Annotated[
        bool, typer.Option("--scores-only", help="Scores and pictures without verdicts.")
    ] = False,
    fail_on_anomaly: Annotated[
        bool, typer.Option("--fail-on-anomaly", help="Exit code 1 if any part is anomalous.")
    ] = False,
    watch: Annotated[
        Path | None, typer.Option("--watch", help="Judge the images of this folder as they arrive.")
    ] = None,
    idle: Annotated[
        float | None, typer.Option(help="With --watch: stop after so many quiet seconds.")
    ] = None,
    changes: SetOption = None,
) -> None:
    """Judge parts: score, verdict, place of the suspicious regions, overlay picture.

    Writes results.json, results.csv and overlays/. An image is anomalous if its score is above the
    model's threshold. Exit code 1 if an image could not be read, 2 if the model has no threshold
    and neither --threshold nor --scores-only was given.

    Example: fedpatchcore inspect outputs/iid photos/ --category tank_screw --out outputs/today

    Example: fedpatchcore inspect outputs/iid --watch /camera --category tank_screw --out judged
    """
    if (watch is None) == (not images):
        raise InputError("give images or folders to judge, or --watch FOLDER: one of the two")
    if idle is not None and (watch is None or idle < 0):
        raise InputError(f"--idle {idle}: seconds, together with --watch")
    if scores_only and (fail_on_anomaly or threshold is not None):
        raise InputError("--scores-only gives no verdicts: leave --threshold and --fail-on-anomaly")

    own = changed(changes)
    require_used("inspect", changes)
    model, station = model_and_station(model, station)
    out = usable_out(out)

    with imported_for_good():
        from common.evaluation.drift import STALE
        from common.inspection.images import find_images
        from common.inspection.inspector import Inspector
        from common.inspection.verdict import choose_rule, scores_alone
        from common.inspection.watch import WatchOptions
        from common.patchcore import PatchCore

    refused: dict[Path, OSError] = {}
    found = find_images(images or [], skip=out, on_error=refused.__setitem__)
    loaded = PatchCore.load(model, **own)
    rule = choose_rule(loaded, category, threshold, station)
    if scores_only:
        rule = scores_alone(rule)
    elif rule.threshold is None:
        raise InputError(
            f"{model}: {rule.note}. Or give a score with --threshold, or ask for scores without "
            "verdicts with --scores-only"
        )
    shown = "none" if rule.threshold is None else f"{rule.threshold:.4g}"
    console.print(f"threshold {shown}, {rule.note}", highlight=False, soft_wrap=True)
    if rule.stale:
        note(STALE)
    inspector = Inspector(loaded, rule, out)
    tally = _Tally(single=watch is not None)
    with at_work(), _told_at_the_end(tally, out):
        if watch is not None:
            _watch(inspector, watch, WatchOptions(idle=idle), tally)
        else:
            _judge(inspector, [(one.path, one.place) for one in found], refused, tally)
    _print_drift(rule, tally.scores)
    if tally.unreadable:
        raise RunError(f"{tally.unreadable} images could not be judged, see {out}/results.json")
    if fail_on_anomaly and tally.anomalous:
        raise typer.Exit(1)


def _judge(
    inspector: Inspector,
    images: list[tuple[Path, Path]],
    refused: Mapping[Path, OSError],
    tally: _Tally,
) -> None:
    """Judge a batch; a folder that could not be listed counts as one image that is not judged."""
    from common.inspection.images import OverlayNames
    from common.inspection.inspector import unjudged
    from common.inspection.results import clear_earlier, write_results

    clear_earlier(inspector.out)
    names = OverlayNames()
    work = [(path, names.name(place)) for path, place in images]
    entries: list[dict[str, Any]] = []
    # Room that the results will need, so that overlays cannot take it.
    reserve = inspector.out / ".reserve"
    write_whole(reserve, bytes(_RESERVE * (len(work) + 4)))
    try:
        for folder, error in refused.items():
            result = unjudged(folder, inspector.rule, explained(error))
            entries.append(result.to_json())
            tally.add(result)
        with progress_bar("judging") as show:
            for result in inspector.judge(work):
                entries.append(result.to_json())
                tally.add(result)
                show("judging", len(entries), len(work))
    finally:
        # Interrupted or out of disk: what was judged so far stays.
        reserve.unlink(missing_ok=True)
        write_results(entries, inspector.out)


@contextmanager
def _told_at_the_end(tally: _Tally, out: Path) -> Iterator[None]:
    """Print the sums, also of what was judged before an interruption or a full disk."""
    from common.inspection.results import RESULT_FILES

    try:
        yield
    except KeyboardInterrupt:
        tally.print(out)
        raise
    except OSError as error:
        if not was_refused(error):
            raise
        kept = f"; the results of the {tally.judged} images before it are in {out}"
        if Path(str(error.filename)).name in RESULT_FILES:
            kept = ""  # it is these that could not be written
        raise RunError(f"{explained(error)}{kept}") from error
    tally.print(out)


def _watch(inspector: Inspector, folder: Path, options: WatchOptions, tally: _Tally) -> None:
    from common.inspection.watch import Watcher

    watcher = Watcher(inspector, folder, options)
    known = len(watcher.journal.entries)
    earlier = f" ({known} images were judged before)" if known else ""
    console.print(f"watching {folder}{earlier}; Ctrl-C ends", highlight=False, soft_wrap=True)
    try:
        watcher.run(tally.add)
    except KeyboardInterrupt:
        # An image's line may be on the disk already, and not be counted yet.
        tally.catch_up(watcher.journal.entries[known + tally.judged :])
        raise


class _Tally:
    """What is told about the images, one by one and in the end.

    Each with its own time only where they come one by one: of a batch, the first takes it all.
    """

    def __init__(self, single: bool) -> None:
        self.single = single
        self.scores: list[float] = []
        self.first: list[Path] = []
        self.judged = self.anomalous = self.unreadable = 0
        self.seconds = 0.0

    def catch_up(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Count images that an interruption kept from being told one by one."""
        for entry in entries:
            self.judged += 1
            self.unreadable += entry.get("score") is None
            self.anomalous += bool(entry.get("anomalous"))

    def add(self, result: Result) -> None:
        """Print one line about an image and count it."""
        self.judged += 1
        self.seconds += result.seconds
        if result.error is not None or result.score is None:
            self.unreadable += 1
            console.print(styled("not judged", "bold red"), str(result.error), soft_wrap=True)
            return
        self.scores.append(result.score)
        self._look_at(result.path)
        self.anomalous += bool(result.anomalous)
        word = {True: "anomalous", False: "good", None: "-"}[result.anomalous]
        style = {True: "bold red", False: "green", None: ""}[result.anomalous]
        where = ""
        if result.regions:
            worst = result.regions[0]
            count = len(result.regions)
            where = (
                f"  {count} region{'s' if count > 1 else ''}, worst at row {worst.peak_row} "
                f"column {worst.peak_column}, {worst.area} px"
            )
        taken = f"{1000 * result.seconds:6.0f} ms  " if self.single else " "
        console.print(
            styled(f"{word:9}", style),
            f"{result.score:9.4f} {taken}{short(result.path)}{where}",
            highlight=False,
            soft_wrap=True,
        )

    def _look_at(self, path: Path) -> None:
        """Say of the first images, once, that they use little of their format's range."""
        if len(self.first) < _FIRST:
            self.first.append(path)
            if len(self.first) == _FIRST:
                print_range(self.first)

    def print(self, out: Path) -> None:
        """Print the sums."""
        if len(self.first) < _FIRST:
            print_range(self.first)
        average = f", {1000 * self.seconds / self.judged:.0f} ms each" if self.judged else ""
        console.print(
            f"{self.judged} images{average}: {self.anomalous} anomalous, {self.unreadable} "
            f"unreadable. Written: {out} (results.json, results.csv, overlays/)",
            highlight=False,
            soft_wrap=True,
        )


def _print_drift(rule: Rule, scores: list[float]) -> None:
    """Compare with the calibration; of images whose state is not known, only those judged good."""
    from common.evaluation.drift import compare_with_calibration

    if scores and rule.calibration:
        drift = compare_with_calibration(
            scores, rule.calibration, rule.threshold, all_good=False, stale=rule.stale
        )
        console.print(f"drift: {drift.sentence}", highlight=False, soft_wrap=True)
