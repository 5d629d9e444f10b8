"""`models`: the model versions of a station, and which of them judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from common.cli.console import console, styled
from common.cli.model_options import StationArgument, login
from common.cli.show import program_of
from common.errors import FedPatchCoreError, InputError
from common.paths import json_text

if TYPE_CHECKING:
    from common.line.models import ModelVersions, Version

_STYLES = {"active": "bold green", "waiting": "yellow", "kept": "", "refused": "red"}


def models(
    file: StationArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    activate: Annotated[
        str | None,
        typer.Option(metavar="RUN_ID", help="Let this version judge from now on."),
    ] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Let the version judge that was active before.")
    ] = False,
    keep: Annotated[
        int | None, typer.Option(metavar="N", help="Remove the oldest until so many are left.")
    ] = None,
    why: Annotated[
        str | None, typer.Option(help="What for, in words; kept with the switch.")
    ] = None,
    even_refused: Annotated[
        bool,
        typer.Option(
            "--even-refused",
            help="Activate a version, too, that failed the station's acceptance test.",
        ),
    ] = False,
) -> None:
    """List a station's model versions, switch between them, remove old ones.

    A version is called by the id of its run; one that was made at the station by that and a
    number, as 1234567890.1. States: active (it judges), waiting (never active), kept (was active),
    refused (it failed the station's acceptance test). A running service takes a switch over
    between two parts.

    Example: fedpatchcore models /etc/fedpatchcore/station/station.toml --rollback
    """
    if activate is not None and rollback:
        raise InputError("--activate names a version, --rollback takes the one before: use one")
    if even_refused and activate is None:
        raise InputError("--even-refused belongs to --activate RUN_ID")
    from common.line.models import ModelVersions
    from common.plant.station.station_file import read_station_file

    station = read_station_file(file)
    versions = ModelVersions(station.models_dir)
    _require_some(versions, activate, rollback)
    switched = None
    if activate is not None:
        switched = versions.activate(
            activate, by=login(), why=why or "--activate", even_refused=even_refused
        )
    elif rollback:
        switched = versions.rollback(by=login(), why=why or "--rollback")
    removed = [] if keep is None else versions.keep(keep)
    found = versions.all()
    if as_json:
        active = next((one.name for one in found if one.state == "active"), None)
        told = {
            "station": station.station,
            "models_dir": str(station.models_dir),
            "active": active,
            "removed": removed,
            "versions": [{**one.to_json(), **_program(one)} for one in found],
        }
        typer.echo(json_text(told))
        return
    if found:
        console.print(_table(f"Models of {station.station} in {station.models_dir}", found))
    else:
        console.print(
            f"{station.station} has no model in {station.models_dir} yet; a run delivers one",
            soft_wrap=True,
        )
    if switched is not None:
        console.print(
            styled("Active now:", "bold green"),
            f"{switched.name} (sha256 {switched.sha256[:12]}...)",
            soft_wrap=True,
        )
    elif found and not any(one.state == "active" for one in found):
        console.print("No version is active; --activate RUN_ID names one", soft_wrap=True)
    if keep is not None:
        console.print(f"Removed: {', '.join(removed) or 'none'}", soft_wrap=True)


def _require_some(versions: ModelVersions, activate: str | None, rollback: bool) -> None:
    """Make no folder for a station that has none and is asked to switch."""
    if (activate is not None or rollback) and not versions.folder.is_dir():
        raise InputError(f"{versions.folder}: no model version is there yet; a run delivers one")


def _table(title: str, versions: list[Version]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("version", "stored", "sha256", "state", "from", "acceptance"):
        table.add_column(name, overflow="fold")
    for one in versions:
        table.add_row(
            one.name,
            one.made_at[:16].replace("T", " "),
            one.sha256[:12],
            styled(one.state, _STYLES[one.state]),
            ", ".join(filter(None, (one.parent or f"run {one.run_id}", program_of(_program(one))))),
            _acceptance(one),
        )
    return table


def _program(version: Version) -> dict[str, Any]:
    """By which program the run made it; unknown of one from before that was kept."""
    from common.patchcore.model_files import read_facts
    from common.patchcore.model_folder import FACTS

    try:
        origin = read_facts(version.folder / FACTS).get("provenance") or {}
    except FedPatchCoreError:  # removed or damaged since it was listed: the list still helps
        origin = {}
    return {word: origin.get(word) for word in ("program_version", "app_sha256")}


def _acceptance(version: Version) -> str:
    """Figures of each category, and why it was refused or made."""
    told = version.acceptance or {}
    words = [
        f"{name}: {figures}"
        for name, own in (told.get("categories") or {}).items()
        if (figures := ", ".join(_figures(own)))
    ]
    if version.reason:
        words.append(version.reason)
    return "; ".join(words) or ("accepted" if told.get("accepted") else "not tested")


def _figures(own: dict[str, Any]) -> list[str]:
    found = []
    if "false_alarms" in own:
        found.append(f"{own['false_alarms']} of {own['held_out_images']} false alarms")
    if "auroc" in own:
        other = f" (was {own['auroc_active']:.3f})" if "auroc_active" in own else ""
        found.append(f"AUROC {own['auroc']:.3f}{other}")
    return found
