"""`plant gateway` and `plant station`: what stands between a station and the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from common.errors import InputError
from common.system.service_log import log_to_output


def gateway(
    keys: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder `gateway` that `fedpatchcore keys` made."),
    ],
    superlink: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="The SuperLink, by a name on its certificate."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for stations.")] = 9443,
    health_port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            help="Port on 127.0.0.1 where GET /health answers 200, for health checks; 0: none.",
        ),
    ] = 0,
) -> None:
    """Let stations reach the SuperLink's fleet API, and nothing else of it.

    This is the only port of the server that a station needs, and only a station gets in: it takes
    a certificate of the plant's. Runs nginx, which must be installed, with a configuration of its
    own. What changes in the key folder (a new station, a revoked one) is taken over by itself.

    Example: fedpatchcore plant gateway --keys keys/gateway --superlink 127.0.0.1:8000
    """
    from common.plant.gateway.gateway_process import become_gateway

    become_gateway(keys, host_and_port(superlink), host, port, health_port)


def station(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The station's station.toml.")],
) -> None:
    """Run this machine as a station, until it is told to stop.

    Starts Flower's SuperNode, watches it and starts it again when it ends or is no longer served.
    The file `alive` in the station's cache folder is as old as its last contact with the server.

    Example: fedpatchcore plant station /etc/fedpatchcore/station.toml
    """
    from common.plant.station.launcher import run_station
    from common.plant.station.station_file import read_station_file

    described = read_station_file(file)
    log_to_output(described.station)
    run_station(described)


def host_and_port(text: str) -> tuple[str, int]:
    """Take HOST:PORT apart; InputError if it is none."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]*):([0-9]{1,5})", text)
    if not found or not 1 <= int(found[2]) <= 65535:
        raise InputError(f"--superlink {text!r}: expected HOST:PORT, as superlink:8000, no scheme")
    return found[1].strip("[]"), int(found[2])
