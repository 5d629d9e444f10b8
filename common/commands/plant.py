"""`plant`: the processes of a real plant, each started where it belongs."""

from __future__ import annotations

import typer

from common.commands import plant_station

app = typer.Typer(
    help="Run a plant on separate machines: server, gateway, stations.",
    no_args_is_help=True,
    add_completion=False,
)

for command in (
    plant_station.gateway,
    plant_station.station,
):
    app.command()(command)
