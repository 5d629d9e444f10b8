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
    service: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A station whose `fedpatchcore serve` is to have a certificate, so that others "
            "can reach it: DIR/services/NAME.",
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="DNS name or IP address under which that service is reached, no server's; may be "
            "given several times. Default: the station's name.",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many training images the stations of --station may count for in a run, "
            "whatever they say. Default: twice those of their largest earlier run.",
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(metavar="N", help="Validity of new server certificates. Default: 825."),
    ] = None,
    renew: Annotated[
        bool,
        typer.Option(
            "--renew",
            help="Make certificates anew: both servers', every station's and every service's; "
            "with --gateway or --superlink the servers' alone, with --station these stations' "
            "alone, with --service that one's alone. What there was stays good until it expires.",
        ),
    ] = False,
    revoke: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Shut this station out: its certificates go on the revocation list, its keys are "
            "removed from DIR. May be given several times.",
        ),
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Make nothing, show what is there.")
    ] = False,
) -> None:
    """Make the keys of a plant: its authorities, the servers' certificates, each station's keys.

    Run it again to add a station: what is there is never replaced. --renew makes new certificates;
    servers and services keep their keys, so copy the .crt files to their hosts and restart them;
    copy a station's station.pem to it and restart it.

    DIR/server goes to the server's host, DIR/gateway to the gateway's, DIR/stations/NAME to that
    station and DIR/services/NAME to its service at the line, each to nobody else. DIR/ca.key and
    DIR/stations-ca.key stay with the administrator; the first can go off the network at once:
    only --service and --renew of servers and services need it.

    Warns of what has expired, expires within 60 days or can be read by others; with --list the
    exit code is 1 then.

    Example: fedpatchcore keys keys --gateway gateway.example.org --superlink 10.0.0.5

    Example: fedpatchcore keys keys --station paint-shop

    Example: fedpatchcore keys keys --station paint-shop --images 500

    Example: fedpatchcore keys keys --service paint-shop --host paint-shop.plant.example

    Example: fedpatchcore keys keys --renew --station paint-shop

    Example: fedpatchcore keys keys --renew --service paint-shop --host paint-shop.plant.example

    Example: fedpatchcore keys keys --revoke paint-shop

    Example: fedpatchcore keys keys --list
    """
    from common.plant.keys.key_list import list_keys
    from common.plant.keys.making import Wanted, make_keys

    others = (station, gateway, superlink, days, images, service, host)
    if only_list:
        if renew or revoke or any(one is not None for one in others):
            raise InputError("--list only shows; leave the other options away")
    elif revoke:
        if renew or any(one is not None for one in others):
            raise InputError("--revoke only shuts stations out; leave the other options away")
        _revoke(folder, revoke)
    else:
        wanted = Wanted(station, gateway, superlink, days, renew, images, service, host)
        made = make_keys(folder, wanted)
        for path in made:
            console.print(f"made {path}", highlight=False, soft_wrap=True)
        if not made:
            console.print("Nothing was missing.")
        if images is not None:
            console.print(
                "Copy server/stations/images.toml to the executor's stations folder: runs go by it "
                "from the next one on.",
                soft_wrap=True,
            )
    problems = _show(folder, list_keys(folder))
    if only_list and problems:
        raise typer.Exit(1)


def _revoke(folder: Path, names: list[str]) -> None:
    from common.plant.keys.revoking import revoke_station

    for name in dict.fromkeys(names):
        done = revoke_station(folder, name)
        number = done.certificates
        kind = "certificate" if number == 1 else "certificates"
        console.print(f"{name}: {number} {kind} revoked", highlight=False)
        for path in done.removed:
            console.print(f"removed {path}", highlight=False, soft_wrap=True)
        if done.service_until is not None:
            console.print(
                f"its service's certificate cannot be called back, lines take it until "
                f"{done.service_until:%Y-%m-%d}: give its host names to nobody else, and delete "
                "line.key at the station",
                highlight=False,
                soft_wrap=True,
            )
    console.print(
        "To shut them out now: copy gateway/revoked.pem to the gateway's host, which takes it over "
        "within seconds; delete their .pub files from the hosts of gateway and server "
        "(stations/NAME.pub); and there: fedpatchcore plant register --remove NAME",
        highlight=False,
        soft_wrap=True,
    )


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
