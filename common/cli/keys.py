"""`keys`: certificates and keys of a plant, made, added to, renewed and looked over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cli.console import console, styled
from common.errors import InputError

if TYPE_CHECKING:
    from common.plant.keys.key_list import KeyEntry


def keys(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the plant's keys.")
    ] = Path("keys"),
    station: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A station that is to have a key; may be given several times. A new folder gets "
            "the five stations of the AutoVI plant if none is named.",
        ),
    ] = None,
    gateway: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="DNS name or IP address under which stations reach the gateway; may be given "
            "several times. Default: gateway. localhost and 127.0.0.1 are always added.",
        ),
    ] = None,
    superlink: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The same for the SuperLink, as the gateway and administrators reach it. "
            "Default: superlink.",
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(metavar="N", help="Validity of new server certificates. Default: 825."),
    ] = None,
    renew: Annotated[
        bool,
        typer.Option("--renew", help="Make both servers' certificates anew; their keys stay."),
    ] = False,
    only_list: Annotated[
        bool, typer.Option("--list", help="Make nothing, show what is there.")
    ] = False,
) -> None:
    """Make the keys of a plant: an authority, the servers' certificates, one key per station.

    Run it again to add a station: what is there is never replaced. --renew makes new certificates
    from the keys that are there, so nothing else changes anywhere; copy the two .crt files to their
    hosts and restart the servers.

    DIR/server goes to the server's host, DIR/gateway to the gateway's, DIR/stations/NAME to that
    station, each to nobody else. DIR/ca.key stays with the administrator.

    Warns of what has expired, expires within 60 days or can be read by others; with --list the
    exit code is 1 then.

    Example: fedpatchcore keys keys --gateway gateway.example.org --superlink 10.0.0.5

    Example: fedpatchcore keys keys --station paint-shop

    Example: fedpatchcore keys keys --list
    """
    from common.plant.keys.key_list import list_keys
    from common.plant.keys.making import Wanted, make_keys

    if only_list:
        if renew or station or gateway or superlink or days is not None:
            raise InputError("--list only shows; leave the other options away")
    else:
        made = make_keys(folder, Wanted(station, gateway, superlink, days, renew))
        for path in made:
            console.print(f"made {path}", highlight=False, soft_wrap=True)
        if not made:
            console.print("Nothing was missing.")
    problems = _show(folder, list_keys(folder))
    if only_list and problems:
        raise typer.Exit(1)


def _show(folder: Path, entries: list[KeyEntry]) -> int:
    """Print what is there and, below it, what is wrong; returns how many things are."""
    width = max(len(str(entry.path)) for entry in entries)
    console.print(f"\n{'file':{width}}  expires     what it is", style="bold", soft_wrap=True)
    for entry in entries:
        expires = f"{entry.expires:%Y-%m-%d}" if entry.expires else "never"
        line = f"{entry.path!s:{width}}  {expires:10}  {entry.purpose}"
        console.print(line, soft_wrap=True)
    problems = [(entry.path, text) for entry in entries for text in entry.problems]
    for path, text in problems:
        warning = styled("warning", "bold yellow")
        console.print(warning, f"{folder / path}: {text}", soft_wrap=True)
    return len(problems)
