"""`inspect`, `show` and `add`: what a station does with a model every day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from common.cli.console import console, note, styled
from common.cli.shared import SetOption, at_work, changed, progress_bar, usable_out
from common.data.names import normal
from common.errors import InputError, RunError, explained
from common.errors import refused as was_refused
from common.paths import json_text
from common.runs.honoured import require_used
from common.system.files import write_whole

if TYPE_CHECKING:
    from common.inspection.inspector import Inspector, Result
    from common.inspection.verdict import Rule
    from common.inspection.watch import WatchOptions

_FIRST: Final = 8
_RESERVE: Final = 2048
"""Bytes of both files of results for one image, usually far less."""

ModelArgument = Annotated[Path, typer.Argument(help="Model folder, or a run folder.")]
CategoryOption = Annotated[
    str | None,
    typer.Option(
        callback=lambda name: normal(name) if name else None,
        help="The part; may be left out if the model has one bank.",
    ),
]


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
    out = usable_out(out)

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
    console.print(f"watching {folder}{earlier}; Ctrl-C ends", highlight=False)
    watcher.run(tally.add)


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
            f"{result.score:9.4f} {taken}{_short(result.path)}{where}",
            highlight=False,
            soft_wrap=True,
        )

    def _look_at(self, path: Path) -> None:
        """Say of the first images, once, that they use little of their format's range."""
        if len(self.first) < _FIRST:
            self.first.append(path)
            if len(self.first) == _FIRST:
                _print_range(self.first)

    def print(self, out: Path) -> None:
        """Print the sums."""
        if len(self.first) < _FIRST:
            _print_range(self.first)
        average = f", {1000 * self.seconds / self.judged:.0f} ms each" if self.judged else ""
        console.print(
            f"{self.judged} images{average}: {self.anomalous} anomalous, {self.unreadable} "
            f"unreadable. Written: {out} (results.json, results.csv, overlays/)",
            highlight=False,
            soft_wrap=True,
        )


def _print_range(paths: list[Path]) -> None:
    """Warn of a camera's bits in a larger file."""
    from common.data.remarks import range_remark

    if paths and (remark := range_remark(paths)) is not None:
        note(remark)


def _short(path: Path) -> str:
    return str(Path(path.parent.name) / path.name)


def _print_drift(rule: Rule, scores: list[float]) -> None:
    """Compare with the calibration; of images whose state is not known, only those judged good."""
    from common.evaluation.drift import compare_with_calibration

    if scores and rule.calibration:
        drift = compare_with_calibration(
            scores, rule.calibration, rule.threshold, all_good=False, stale=rule.stale
        )
        console.print(f"drift: {drift.sentence}", highlight=False, soft_wrap=True)


def show(
    model: ModelArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say what a model is: parts, rows, stations, feature space, thresholds and what they promise.

    Example: fedpatchcore show outputs/iid
    """
    from common.patchcore.model_store import SavedModel

    saved = SavedModel.load(model)
    facts = {
        "categories": list(saved.categories),
        "scope": saved.scope,
        "rows": {name: len(rows) for name, rows in saved.banks.items()},
        "feature_dim": next(iter(saved.banks.values())).shape[1],
        "number_format": str(next(iter(saved.banks.values())).dtype),
        "feature_space": saved.space.to_json(),
        "fingerprint": saved.space.fingerprint,
        "image_score": saved.image_score,
        "augment": saved.augment,
        "thresholds": saved.thresholds,
        "calibration_images": {name: len(own) for name, own in saved.calibration.items()},
        "stations": {name: own.thresholds for name, own in saved.stations.items()},
        "coreset_projection": asdict(saved.selection) if saved.selection else None,
        "radius": saved.radius,
        "radii": saved.radii,
        "shares": {name: asdict(own) for name, own in sorted(saved.shares.items())},
        "stale": list(saved.stale),
        "provenance": saved.provenance,
    }
    if as_json:
        typer.echo(json_text(facts))
        return
    table = Table(title=f"Model {model}", title_justify="left", show_header=False)
    table.add_column("what", style="bold")
    table.add_column("value", overflow="fold")
    for name, value in _description(facts, saved.space.describe()):
        table.add_row(name, value)
    console.print(table)


def _description(facts: dict[str, Any], space: str) -> list[tuple[str, str]]:
    """The lines of `show`."""
    from common.evaluation.drift import STALE

    origin = facts["provenance"]
    rows = ", ".join(f"{name} {count}" for name, count in facts["rows"].items())
    lines = [
        ("parts", ", ".join(facts["categories"]) or "not named"),
        ("bank", f"{rows} rows of {facts['feature_dim']} numbers ({facts['number_format']})"),
        *([("shares", _shares(facts["shares"]))] if facts["shares"] else []),
        ("feature space", space),
        ("fingerprint", facts["fingerprint"]),
        ("coreset", _selection(facts["coreset_projection"])),
        ("radius", _radii(facts["radii"])),
        ("image score", facts["image_score"]),
        *([("augment", facts["augment"])] if facts["augment"] != "none" else []),
        ("made", f"{origin.get('created', 'unknown')} by {origin.get('method', 'unknown')}"),
    ]
    if origin.get("flower_run_id"):
        lines.append(("Flower run", str(origin["flower_run_id"])))
    if origin.get("synthetic_data"):
        lines.append(("images", "SYNTHETIC (drawings)"))
    stations = origin.get("stations") or {}
    total = sum(stations.values())
    lines += [
        (f"station {name}", f"{count} rows ({count / total:.0%})")
        for name, count in sorted(stations.items())
    ]
    for category in facts["categories"] or sorted(facts["thresholds"]):
        own = facts["thresholds"].get(category)
        text = "none: no good images were held out"
        if own:
            text = f"{own['value']:.4g}. {own.get('note', '')}"
            if category in facts["stale"]:
                text += f". STALE: {STALE}"
        lines.append((f"threshold {category}", text))
        lines += [
            (
                f"  at {name}",
                f"{at['value']:.4g}, promises {at['promised_false_alarm_rate']:.1%} from "
                f"{at['held_out_images']} images",
            )
            for name, every in sorted(facts["stations"].items())
            if (at := every.get(category))
        ]
    lines += [
        (
            f"added {added['when']}",
            f"{added['rows']} rows from {added['images']} images into bank {added['bank']}",
        )
        for added in origin.get("added", [])
    ]
    return lines


def _radii(radii: dict[str, float]) -> str:
    """One number of a model with one bank, else each bank's."""
    if len(radii) == 1:
        return f"{next(iter(radii.values())):.4g}"
    return ", ".join(f"{name} {own:.4g}" for name, own in sorted(radii.items())) or "unknown"


def _shares(shares: dict[str, dict[str, Any]]) -> str:
    """Rows of each part in a shared bank, and how far its own patches lie from them."""
    return ", ".join(
        f"{name} {own['rows']} rows"
        + ("" if own["radius"] is None else f" (radius {own['radius']:.4g})")
        for name, own in shares.items()
    )


def _selection(facts: dict[str, int] | None) -> str:
    """How the coreset was selected."""
    if facts is None:
        return "selected in an unknown projection (saved by an older version)"
    if facts["components"] == 0:
        return f"selected in full, without a projection (seed {facts['seed']})"
    return f"selected in a random projection to {facts['components']} (seed {facts['seed']})"


def add(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(help="Images or folders of GOOD parts.")],
    category: CategoryOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the new model here; else it replaces the old one."),
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
    refused unless you say --yes. The old model is kept beside the new one, and the new one keeps
    the names and contents' sha256 of what was added. Its threshold still holds what it promised;
    drift is unknown until the model is calibrated again.

    Example: fedpatchcore add outputs/iid new_good_parts/ --category tank_screw
    """
    out = None if out is None else usable_out(out, whole=True)
    own = changed(changes)
    require_used("add", changes)

    from common.inspection.growth import add_images
    from common.inspection.images import find_images

    found = [one.path for one in find_images(images)]
    with at_work(), progress_bar("adding") as bar:
        growth = add_images(
            model,
            found,
            category=category,
            out=out,
            most_rows=rows,
            progress=lambda done, total: bar("adding", done, total),
            changes=own,
            suspicious=yes,
            dry_run=dry_run,
        )
    _print_range(found)
    if dry_run:
        for one in growth.judged:
            word, style = ("anomalous", "bold red") if one.anomalous else ("good", "green")
            console.print(
                styled(f"{word:9}", style),
                f"{one.score:9.4f}  {_short(one.path)}",
                highlight=False,
                soft_wrap=True,
            )
    console.print(f"bank {growth.bank}: {growth.sentence}", highlight=False, soft_wrap=True)
    if growth.folder is not None:
        console.print(f"Written: {growth.folder}", highlight=False, soft_wrap=True)
    if growth.kept is not None:
        console.print(f"Kept: {growth.kept}", highlight=False, soft_wrap=True)
