"""What several commands need: settings from options, preflight, progress, summary tables.

Here and in the commands themselves, whatever takes seconds to import (torch, matplotlib) is
imported where it is used: `fedpatchcore --help` and a wrong path answer at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from common.cli.console import console, note
from common.config import Settings
from common.data.images import verify_images
from common.data.layout import DataIndex, index_data
from common.errors import InputError, RunError, explained, refused
from common.patchcore.names import check_names
from common.paths import given_path
from common.runs.honoured import unused
from common.system.ending import orderly
from common.system.files import require_writable

FETCH_SECONDS = 300.0
_HEADLINE = ("AUC-sPRO\n@0.05", "AUC-sPRO\n@0.3", "pixel\nAUROC", "image\nAUROC", "image\nAP")

Command = TypeVar("Command", bound=Callable[..., Any])

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting of the run; may be given several times.",
    ),
]


def make_settings(assignments: list[str] | None, **base: Any) -> Settings:
    """Defaults, changed by the command's own options, then by `--set`; paths among them whole."""
    settings = check_names(Settings(**base).override(assignments or []))
    given = {*base, *_assigned(assignments)} & {"data_root", "output_dir", "weights"}
    whole = settings.absolute()
    return settings.with_(**{key: getattr(whole, key) for key in given})


def changed(assignments: list[str] | None) -> dict[str, Any]:
    """Only the settings named by `--set`, validated, in snake_case."""
    settings = make_settings(assignments)
    return {key: getattr(settings, key) for key in _assigned(assignments)}


def _assigned(assignments: list[str] | None) -> list[str]:
    """The settings that `--set` names, in snake_case."""
    return [text.partition("=")[0].strip().replace("-", "_") for text in assignments or []]


def with_whole_paths(command: Command) -> Command:
    """Let a command get every path of its options and arguments whole; see `given_path`."""

    @functools.wraps(command)
    def called(*words: Any, **options: Any) -> Any:
        return command(*words, **{name: _whole(value) for name, value in options.items()})

    return cast(Command, called)


def _whole(value: Any) -> Any:
    if isinstance(value, Path):
        return given_path(value)
    return [_whole(one) for one in value] if isinstance(value, list) else value


def tell_unused(kind: str, settings: Settings, assignments: list[str] | None) -> None:
    """Say which of the given settings change nothing in this run."""
    for sentence in unused(kind, settings, assignments):
        note(sentence)


def open_data(data: Path, workers: int = 4) -> DataIndex:
    """Index a data folder and look every image and mask file over.

    Raises
    ------
    InputError
        Naming the first file that cannot be used, before any long work has started.
    """
    index = index_data(data)
    verify_files(index, workers)
    return index


def verify_files(index: DataIndex, workers: int = 4) -> None:
    """Look every image and mask of an index over; see `verify_images`."""
    files = [path for s in index.samples for path in (s.path, *(s.masks or ()))]
    verify_images(files, workers)


def settle_weights(settings: Settings, patience: float = FETCH_SECONDS) -> Settings:
    """Decide which network a run uses before it starts, and say so where nobody chose it.

    Published weights that are not on this machine are fetched if that works within `patience`
    seconds.

    Raises
    ------
    InputError
        If there are no weights of a network that was chosen.
    """
    from common.patchcore.network.architectures import DEFAULT, find_backbone
    from common.patchcore.network.choice import settle_network
    from common.patchcore.network.weights import fetch_imagenet, load_weights, published_file

    wanted = DEFAULT if settings.backbone == "auto" else settings.backbone
    if settings.weights in ("auto", "imagenet") and published_file(wanted) is None:
        console.print(f"Looking for the ImageNet weights of {wanted} ...", style="dim")
        fetch_imagenet(wanted, patience)
    settings, notice = settle_network(settings, may_fall_back=True)
    if notice:
        note(notice)
    # A wrong file is found out now, not in five processes a minute later.
    layers = find_backbone(settings.backbone).used(settings.layers)
    load_weights(settings.backbone, layers, settings.weights, settings.seed)
    return settings


@contextmanager
def progress_bar(description: str) -> Iterator[Any]:
    """A bar in a terminal, nothing elsewhere; yields a function of (text, done, total)."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(description, total=None)

        def show(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total)

        yield show


def metrics_table(folder: Path, title: str) -> Table | None:
    """The headline metrics of a run folder; None if it has none."""
    from common.evaluation import load_metrics

    if not (folder / "evaluation" / "metrics").is_dir():
        return None
    table = Table(title=title, title_justify="left")
    table.add_column("category", no_wrap=True)
    for name in _HEADLINE:
        table.add_column(name, justify="right")
    for categories in load_metrics(folder).values():
        for category, metrics in categories.items():
            table.add_row(category, *_headline(metrics))
    return table


def _headline(metrics: Mapping[str, Any]) -> list[str]:
    places = ("localization", "classification")
    localization, classification = (metrics.get(place, {}) for place in places)
    values = (
        localization.get("auc_spro", {}).get("0.05"),
        localization.get("auc_spro", {}).get("0.3"),
        localization.get("pixel_auc_roc"),
        classification.get("auc_roc"),
        classification.get("average_precision"),
    )
    return ["-" if value is None else f"{value:.4f}" for value in values]


def print_missing(folder: Path) -> None:
    """Name what could not be computed, with its reason."""
    from common.evaluation import load_metrics

    if not (folder / "evaluation" / "metrics").is_dir():
        return
    for categories in load_metrics(folder).values():
        for category, metrics in categories.items():
            reasons = metrics.get("not_computed", {})
            for key in ("localization.auc_spro", "classification.auc_roc"):
                if key in reasons:
                    console.print(f"  {category}: {key} not computed: {reasons[key]}", style="dim")


@contextmanager
def at_work() -> Iterator[None]:
    """Mark the work of a command: from here on a refusal of the system's is a failed run."""
    with orderly():
        try:
            yield
        except OSError as error:
            if not refused(error):
                raise
            raise RunError(explained(error)) from error


def usable_out(out: Path, whole: bool = False) -> Path:
    """Look an output folder over before any work: it can be made and written to.

    Parameters
    ----------
    out : Path
    whole : bool
        The folder is to appear as a whole: it is built beside its place.

    Returns
    -------
    Path
        Absolute.

    Raises
    ------
    InputError
        If it is a file, or whole and a mounted volume.
    OSError
        As writing there would later.
    """
    out = given_path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if whole and out.is_mount():
        raise InputError(
            f"--out {out}: is a mounted volume, which no finished folder can replace; give a new "
            f"folder in it, as {out / 'run'}"
        )
    require_writable(out.parent if whole else out)
    return out


def run_folder(out: Path) -> Path:
    """Look a run's output folder over, see `usable_out`; a new run moves an earlier one aside.

    Raises
    ------
    InputError
        If it holds files that no run wrote.
    """
    out = usable_out(out, whole=True)
    if out.is_dir() and any(out.iterdir()) and not (out / "run.json").is_file():
        raise InputError(f"--out {out}: holds files that no run wrote; give a new folder")
    return out
