"""`check`: a doctor for data folders, and a preflight for stations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from common.check import CheckOptions, Finding, Report, check_folder
from common.cli.console import console, styled
from common.cli.shared import SetOption, make_settings, progress_bar, tell_unused
from common.config import Settings
from common.errors import InputError
from common.paths import json_text
from common.runs.honoured import require_used

_OF_A_FOLDER: Final = frozenset(
    {"calibration-fraction", "dirichlet-alpha", "num-stations", "partition", "seed"}
    | {"target-false-alarm-rate"}
    | {"coreset-projection", "global-bank-size", "image-size", "layers"}
    | {"backbone"}
    | {"local-coreset-ratio", "oversample-factor"}
)
"""Settings that decide what a check of a data folder says."""
_OF_AN_AUDIT: Final = frozenset(
    {"weights", "device", "batch-size", "num-workers", "neighborhood-size", "feature-norm"}
    | {"precision", "wire-dtype"}
)
"""Settings that decide what the good images look like to a network, and how fast."""
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
            help="Look a station over: images, weights, disk, memory, key, certificates, server, "
            "and its service at the line if the file has a section [line].",
        ),
    ] = False,
    line: Annotated[
        bool,
        typer.Option(
            "--line",
            help="With --station: its service at the line alone, as the user that it runs as.",
        ),
    ] = False,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Look also at what the good images show, and name those unlike all the others; "
            "takes as long as their features in a run.",
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

    --set says with which settings runs are planned, if not with the usual ones: how many images
    are held out depends on num-stations and partition, how large a patch is on image-size and
    layers. The last line but one suggests image size, rows and ratio for these images and this
    machine's memory.

    With --station nothing is changed and nothing of Flower is started. Run it as the user that
    the station runs as.

    Example: fedpatchcore check data/autovi

    Example: fedpatchcore check data/autovi --target-false-alarm-rate 0.01 --json

    Example: fedpatchcore check data/autovi --set image-size=256

    Example: fedpatchcore check data/autovi --audit

    Example: fedpatchcore check --station /etc/fedpatchcore/station.toml

    Example: fedpatchcore check --station --line /etc/fedpatchcore/line/clips/station.toml
    """
    options = _options(changes or [], target_false_alarm_rate, calibration_fraction)
    used = _OF_A_FOLDER | (_OF_AN_AUDIT if audit else frozenset())
    unused = {text.partition("=")[0].strip() for text in changes or []} - used
    if station and audit:
        raise InputError("--audit is for a data folder: give the station's data-root as DATA")
    if line and not station:
        raise InputError("--line is for a station: add --station and give its station.toml")
    if station:
        require_used("check --station", changes)
        if not as_json:
            tell_unused("check --station", options.settings, changes)
        code = _check_station(path or Path("station.toml"), options, as_json, line)
    elif path is None:
        raise InputError("give a data folder, or --station for the station file in this folder")
    elif unused:
        raise InputError(
            f"--set: a data folder is checked without {', '.join(sorted(unused))}; what counts "
            f"there is {', '.join(sorted(used))}"
        )
    else:
        code = _check_data(path, options, as_json, audit)
    if code:
        raise typer.Exit(code)


def _check_data(data: Path, options: CheckOptions, as_json: bool, audit: bool) -> int:
    from common.plant.preflight.machine import available_memory

    options = replace(options, memory=available_memory()[0])
    with progress_bar("reading images") as show:
        report = check_folder(
            data, options, lambda done, total: show("reading images", done, total)
        )
    if audit and report.count("error"):
        raise InputError(
            f"{data}: {report.count('error')} errors; mend them (`fedpatchcore check` names them), "
            "then look at what the images show with --audit"
        )
    if audit:
        from common.check.unusual_images import unusual_images

        found = unusual_images(data, options.settings)
        report = replace(report, findings=[*report.findings, *found])
    if as_json:
        typer.echo(json_text(report.to_json()))
    else:
        _print(report)
    return report.exit_code


def _check_station(path: Path, options: CheckOptions, as_json: bool, line: bool) -> int:
    from common.plant.preflight.station_check import check_station

    report = check_station(path, options.settings, options, line_only=line)
    if as_json:
        typer.echo(json_text(report.to_json()))
        return report.exit_code
    for label, text in report.facts.items():
        console.print(styled("seen", "green"), f"{label}: {text}", soft_wrap=True)
    for finding in report.sorted_findings():
        _print_finding(finding, finding.path)
    verdict = "mend this first" if report.exit_code else "ready"
    console.print(
        f"{report.station}: {report.count('error')} errors, {report.count('warning')} "
        f"warnings, {report.count('note')} notes; {verdict}",
        highlight=False,
        soft_wrap=True,
    )
    return report.exit_code


def _options(changes: list[str], rate: float | None, fraction: float | None) -> CheckOptions:
    settings = make_settings(changes)
    if rate is not None:
        settings = settings.with_(target_false_alarm_rate=rate)
    if fraction is not None:
        settings = settings.with_(calibration_fraction=fraction)
    if settings.calibration_fraction == 0 and rate is not None:
        raise InputError(
            "--calibration-fraction 0 holds nothing out, so no false-alarm rate can be promised; "
            "leave one of the two options away"
        )
    default = Settings().target_false_alarm_rate
    return CheckOptions(settings, settings.target_false_alarm_rate != default or rate is not None)


def _print(report: Report) -> None:
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in report.findings:
        own = (finding.severity, finding.kind, finding.why, finding.mend)
        groups.setdefault(own, []).append(finding)
    for alike in groups.values():
        _print_group(alike, report.root)
    if report.suggestion:
        console.print(
            styled("suggested", "green"), report.suggestion, highlight=False, soft_wrap=True
        )
    console.print(
        f"{report.root}: {len(report.categories)} categories, {report.images} images, "
        f"{report.masks} masks; {report.count('error')} errors, {report.count('warning')} "
        f"warnings, {report.count('note')} notes",
        highlight=False,
        soft_wrap=True,
    )


def _print_group(findings: list[Finding], root: Path) -> None:
    """What one fault is and how to mend it, once; then every file that has it."""
    first, colour = findings[0], _COLOURS[findings[0].severity]
    times = f", {len(findings)} times" if len(findings) > 1 else ""
    console.print(styled(first.severity, colour), f"{first.kind}{times}", soft_wrap=True)
    for finding in findings:
        place = finding.path
        if place.is_relative_to(root):
            place = place.relative_to(root)
        found = finding.found.replace(f"{root}/", "")
        console.print(f"    {place}: {found}", highlight=False, soft_wrap=True)
    for label, text in (("why", first.why), ("mend", first.mend)):
        console.print(f"  {label}: {text}", highlight=False, soft_wrap=True)


def _print_finding(finding: Finding, place: Path) -> None:
    colour = _COLOURS[finding.severity]
    console.print(
        styled(finding.severity, colour),
        f"{place}  ({finding.kind})",
        soft_wrap=True,
    )
    for label, text in (("found", finding.found), ("why", finding.why), ("mend", finding.mend)):
        console.print(f"    {label}: {text}", highlight=False, soft_wrap=True)
