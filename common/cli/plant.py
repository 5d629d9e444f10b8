"""`plant`: the processes of a real plant, each started where it belongs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from common.cli import plant_server, plant_station
from common.cli.console import console
from common.cli.shared import with_whole_paths

app = typer.Typer(
    help="Run a plant on separate machines: server, gateway, stations.",
    no_args_is_help=True,
    add_completion=False,
)


def show_app(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every file.")] = False,
    files: Annotated[
        bool, typer.Option("--files", help="List the files with their hashes.")
    ] = False,
) -> None:
    """Show the hash of the app that this installation submits and, as a station, trusts.

    It is made of the files that Flower ships to stations, whatever packs them. Two machines that
    show the same have the same program: compare it before and after an update.

    Example: fedpatchcore plant app
    """
    from common.plant.app.installed import installed_app

    found = installed_app()
    if as_json:
        print(
            json.dumps(
                {
                    "app": found.name,
                    "version": found.version,
                    "hash": found.hash,
                    "files": [asdict(file) for file in found.files],
                },
                indent=2,
            )
        )
        return
    if files:
        table = Table()
        for heading in ("file", "bytes", "sha256"):
            table.add_column(heading, no_wrap=True)
        for file in found.files:
            table.add_row(file.path, str(file.length), file.sha256[:16])
        console.print(table)
    console.print(f"{found.name} {found.version}, {len(found.files)} files, hash:", highlight=False)
    console.print(found.hash, highlight=False, soft_wrap=True)


for command in (
    plant_server.superlink,
    plant_server.executor,
    plant_station.gateway,
    plant_station.station,
    plant_server.register,
    plant_server.run,
    plant_server.deliver,
    plant_server.stop,
    plant_server.status,
):
    app.command()(with_whole_paths(command))
app.command("app")(show_app)
