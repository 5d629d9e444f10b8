"""`check`: a doctor for data folders, and a preflight for stations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from common.check import CheckOptions, Finding, Report, check_folder
from common.cli.shared import (
    SetOption,
    console,
    make_settings,
    plain,
    progress_bar,
    tell_unused,
)
from common.config import Settings
from common.errors import InputError
from common.runs.honoured import require_used

_COLOURS: Final = {"error": "bold red", "warning": "bold yellow", "note": "cyan"}


def check(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA|FILE",
            help="Data folder, AutoVI or MVTec layout; with --station a station file, or the "
            "folder of station.toml (default: this one).",
        ),
    ] = None,
    station: Annotated[
        bool,
        typer.Option(
            "--station",
            help="Look a station over: images, weights, disk, memory, key, certificates, server.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    target_false_alarm_rate: Annotated[
        float | None,
        typer.Option(help="The false-alarm rate that the threshold is to promise."),
    ] = None,
    calibration_fraction: Annotated[
        float | None, typer.Option(help="Share of the good training images held out for it.")
    ] = None,
    changes: SetOption = None,
) -> None:
    """Look a data folder or a station over: name every fault, why it matters and how to mend it.

    Exit code 0: clean; 1: faults; 2: nothing that could be looked over.

    With --station nothing is changed and nothing of Flower is started. Run it as the user that
    the station runs as; --set says with which settings the plant's runs are planned, if not with
    the usual ones.

    Example: fedpatchcore check data/autovi

    Example: fedpatchcore check data/autovi --target-false-alarm-rate 0.01 --json

    Example: fedpatchcore check --station /etc/fedpatchcore/station.toml
    """
    settings = make_settings(changes)
    options = _options(settings, target_false_alarm_rate, calibration_fraction)
    if station:
        require_used("check --station", changes)
        if not as_json:
            tell_unused("check --station", settings, changes)
        code = _check_station(path or Path("station.toml"), settings, options, as_json)
    elif path is None:
        raise InputError("give a data folder, or --station for the station file in this folder")
    elif changes:
        raise InputError("--set belongs to --station; a data folder has no settings")
    else:
        code = _check_data(path, options, as_json)
    if code:
        raise typer.Exit(code)


def _check_data(data: Path, options: CheckOptions, as_json: bool) -> int:
    with progress_bar("reading images") as show:
        report = check_folder(
            data, options, lambda done, total: show("reading images", done, total)
        )
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    else:
        _print(report)
    return report.exit_code


def _check_station(path: Path, settings: Settings, options: CheckOptions, as_json: bool) -> int:
    from common.plant.preflight.station_check import check_station

    settings = settings.with_(calibration_fraction=options.calibration_fraction)
    report = check_station(path, settings, options)
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
        return report.exit_code
    for label, text in report.facts.items():
        console.print(f"[green]seen[/] {label}: {plain(text)}", highlight=False, soft_wrap=True)
    for finding in report.sorted_findings():
        _print_finding(finding, finding.path)
    verdict = "mend this first" if report.exit_code else "ready"
    console.print(
        f"{plain(report.station)}: {report.count('error')} errors, {report.count('warning')} "
        f"warnings, {report.count('note')} notes; {verdict}",
        highlight=False,
        soft_wrap=True,
    )
    return report.exit_code


def _options(settings: Settings, rate: float | None, fraction: float | None) -> CheckOptions:
    usual = settings
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
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in report.findings:
        own = (finding.severity, finding.kind, finding.why, finding.mend)
        groups.setdefault(own, []).append(finding)
    for alike in groups.values():
        _print_group(alike, report.root)
    console.print(
        f"{plain(report.root)}: {len(report.categories)} categories, {report.images} images, "
        f"{report.masks} masks; {report.count('error')} errors, {report.count('warning')} "
        f"warnings, {report.count('note')} notes",
        highlight=False,
        soft_wrap=True,
    )


def _print_group(findings: list[Finding], root: Path) -> None:
    """What one fault is and how to mend it, once; then every file that has it."""
    first, colour = findings[0], _COLOURS[findings[0].severity]
    times = f", {len(findings)} times" if len(findings) > 1 else ""
    console.print(
        f"[{colour}]{first.severity}[/] {first.kind}{times}", highlight=False, soft_wrap=True
    )
    for finding in findings:
        place = finding.path
        if place.is_relative_to(root):
            place = place.relative_to(root)
        found = finding.found.replace(f"{root}/", "")
        console.print(f"    {plain(place)}: {plain(found)}", highlight=False, soft_wrap=True)
    for label, text in (("why", first.why), ("mend", first.mend)):
        console.print(f"  {label}: {plain(text)}", highlight=False, soft_wrap=True)


def _print_finding(finding: Finding, place: Path) -> None:
    colour = _COLOURS[finding.severity]
    console.print(
        f"[{colour}]{finding.severity}[/] {plain(place)}  ({finding.kind})",
        highlight=False,
        soft_wrap=True,
    )
    for label, text in (("found", finding.found), ("why", finding.why), ("mend", finding.mend)):
        console.print(f"    {label}: {plain(text)}", highlight=False, soft_wrap=True)
