"""`plant`: the processes of a real plant, each started where it belongs."""

from __future__ import annotations

import typer

from common.cli import plant_server, plant_station
from common.cli.shared import with_whole_paths

app = typer.Typer(
    help="Run a plant on separate machines: server, gateway, stations.",
    no_args_is_help=True,
    add_completion=False,
)

for command in (
    plant_server.superlink,
    plant_server.executor,
    plant_station.gateway,
    plant_station.station,
    plant_server.register,
    plant_server.run,
    plant_server.status,
):
    app.command()(with_whole_paths(command))
