"""`check`: a doctor for data folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from common.check import CheckOptions, Report, check_folder
from common.commands.shared import console, plain, progress_bar
from common.config import Settings
from common.errors import InputError

_COLOURS: Final = {"error": "bold red", "warning": "bold yellow", "note": "cyan"}


def check(
    data: Annotated[Path, typer.Argument(help="Data folder, AutoVI or MVTec layout.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    target_false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="The false-alarm rate that the threshold is to promise."),
    ] = None,
    calibration_fraction: Annotated[
        float | None, typer.Option(help="Share of the good training images held out for it.")
    ] = None,
) -> None:
    """Look a data folder over: name every fault with its file, why it matters and how to mend it.

    Exit code 0: clean; 1: faults; 2: nothing that could be looked over.

    Example: fedpatchcore check data/autovi

    Example: fedpatchcore check data/autovi --target-false-alarm-rate 0.01 --json
    """
    with progress_bar("reading images") as show:
        report = check_folder(
            data,
            _options(target_false_alarm_rate, calibration_fraction),
            lambda done, total: show("reading images", done, total),
        )
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print(report)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _options(rate: float | None, fraction: float | None) -> CheckOptions:
    usual = Settings()
    settings = usual.with_(
        target_false_alarm_rate=usual.target_false_alarm_rate if rate is None else rate,
        calibration_fraction=usual.calibration_fraction if fraction is None else fraction,
    )
    if settings.calibration_fraction == 0 and rate is not None:
        raise InputError(
            "--calibration-fraction 0 holds nothing out, so no false-alarm rate can be promised; "
            "leave one of the two options away"
        )
    return CheckOptions(
        settings.target_false_alarm_rate, settings.calibration_fraction, rate is not None
    )


def _print(report: Report) -> None:
    for finding in report.findings:
        try:
            place = finding.path.relative_to(report.root)
        except ValueError:
            place = finding.path
        colour = _COLOURS[finding.severity]
        console.print(
            f"[{colour}]{finding.severity}[/] {plain(place)}  ({finding.kind})",
            highlight=False,
            soft_wrap=True,
        )
        for label, text in (("found", finding.found), ("why", finding.why), ("mend", finding.mend)):
            console.print(f"    {label}: {plain(text)}", highlight=False, soft_wrap=True)
    console.print(
        f"{plain(report.root)}: {len(report.categories)} categories, {report.images} images, "
        f"{report.masks} masks; {report.count('error')} errors, {report.count('warning')} "
        f"warnings, {report.count('note')} notes",
        highlight=False,
        soft_wrap=True,
    )
