"""The `fedpatchcore` command: what is typed, what is shown, with which exit code it ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import click
import typer

import common
from common.cli import (
    check,
    data,
    demo,
    experiment,
    explore,
    judging,
    keys,
    plant,
    plant_server,
    runs,
)
from common.cli.console import Screen, console, styled
from common.cli.shared import with_whole_paths
from common.errors import FedPatchCoreError

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

    path = write_report(folders, out or folders[0])
    console.print(f"Written: {path}", highlight=False)


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
    judging.inspect,
    judging.show,
    judging.add,
    keys.keys,
    plant_server.result,
):
    app.command()(with_whole_paths(command))
app.add_typer(plant.app, name="plant")


def main() -> None:
    """Run the command line; errors end as one line and exit code 1 or 2, never as a traceback."""
    # As Ctrl-C: what a command has started (Flower's processes) must end with it.
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 unusable input."""
    errors = Screen(stderr=True)

    def tell(text: str) -> None:
        errors.print(styled("fedpatchcore:", "bold red"), text, soft_wrap=True)

    try:
        code = app(arguments, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except FedPatchCoreError as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        tell(str(error))
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        tell(f"{error.format_message()}; see `fedpatchcore --help`")
        return 2
    except (click.Abort, KeyboardInterrupt):
        tell("interrupted")
        return 130
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        tell(
            f"internal error, {type(error).__name__}: {error} (set {DEBUG_VARIABLE}=1 for details)"
        )
        return 1
