"""The `fedpatchcore` command: what is typed, what is shown, with which exit code it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import click
import typer

import common
from common.cli import (
    add,
    check,
    data,
    demo,
    experiment,
    explore,
    fetch,
    inspect,
    keys,
    plant,
    plant_server,
    runs,
    show,
)
from common.cli.console import Screen, console, styled
from common.cli.line import audit, calibrate, models, serve, threshold
from common.cli.shared import at_work, usable_out, with_whole_paths
from common.errors import FedPatchCoreError, explained, reason, refused
from common.paths import cache_root
from common.system.ending import finish
from common.system.signals import INTERRUPTED, begin, was_interrupted
from common.system.streams import output_failure, prepare_streams

DEBUG_VARIABLE = "FEDPATCHCORE_DEBUG"

app = typer.Typer(
    name="fedpatchcore",
    help="Federated PatchCore: stations build one anomaly detector without sharing an image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"fedpatchcore {common.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Federated PatchCore: stations build one anomaly detector without sharing an image."""


def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders of runs.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for report.html.")] = None,
) -> None:
    """Write one self-contained page about one run or several.

    Example: fedpatchcore report outputs/centralized outputs/iid --out outputs
    """
    from common.analysis.report import write_report

    out = out or folders[0]
    page = out.suffix in (".html", ".htm")
    usable_out(out.parent if page else out)
    with at_work():
        path = write_report(folders, out)
    console.print(f"Written: {path}", highlight=False, soft_wrap=True)


for command in (
    demo.demo,
    data.synth,
    data.split,
    runs.baseline,
    runs.federate,
    runs.evaluate,
    experiment.experiment,
    explore.explore,
    report,
    check.check,
    inspect.inspect,
    show.show,
    add.add,
    models.models,
    threshold.threshold,
    calibrate.calibrate,
    audit.audit,
    serve.serve,
    keys.keys,
    plant_server.result,
):
    app.command()(with_whole_paths(command))
app.add_typer(fetch.app, name="fetch")
app.add_typer(plant.app, name="plant")


def main() -> None:
    """Run the command line; errors end as one line and exit code 1 or 2, never as a traceback."""
    begin()
    prepare_streams()
    _keep_torch_out_of_the_temporary_directory()
    code = run(sys.argv[1:])
    failure = output_failure()
    if failure is not None:
        _say(explained(failure))
    finish(code or int(failure is not None))


def _keep_torch_out_of_the_temporary_directory() -> None:
    """Torch makes a folder for compiled code there when it is imported, and leaves it."""
    with contextlib.suppress(FedPatchCoreError, OSError):
        cache = cache_root()
        there = next(place for place in (cache, *cache.parents) if place.exists())
        if os.access(there, os.W_OK):
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "torch"))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code.

    0 done, 1 failed, 2 unusable input, 130 interrupted.
    """
    try:
        code = app(arguments, standalone_mode=False)
        # Typer makes an exit code of Ctrl-C and says nothing.
        return _interrupted() if code == INTERRUPTED else code if isinstance(code, int) else 0
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        _say(f"{error.format_message()}; see `fedpatchcore --help`")
        return 2
    except Exception as error:
        if was_interrupted():
            return _interrupted()  # it hit an import or a library that made an error of it
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return _failed(error)


def _interrupted() -> int:
    _say("interrupted")
    return INTERRUPTED


def _failed(error: Exception) -> int:
    """Say what went wrong; what the system refused before any work is unusable input."""
    if isinstance(error, FedPatchCoreError):
        _say(str(error).replace("\n", "\\n"))  # one line, whatever a file is called
        return error.exit_code
    if isinstance(error, MemoryError) or refused(error):
        _say(reason(error))
        return 1 if isinstance(error, MemoryError) else 2
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        _say("a path begins with ~ and a name that is no user's here; write the path out")
        return 2
    _say(f"internal error, {reason(error)} (set {DEBUG_VARIABLE}=1 for details)")
    return 1


def _say(text: str) -> None:
    Screen(stderr=True).print(styled("fedpatchcore:", "bold red"), text, soft_wrap=True)
