"""What the commands that work with a model have in common."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.cli.console import note
from common.data.names import normal
from common.errors import InputError
from common.patchcore.model_folder import FACTS, find_model

if TYPE_CHECKING:
    from common.plant.station.station_file import StationFile

ModelArgument = Annotated[
    Path, typer.Argument(help="Model folder, run folder, or the station.toml of a station.")
]
StationArgument = Annotated[
    Path, typer.Argument(metavar="STATION.toml", help="The station's station.toml.")
]
CategoryOption = Annotated[
    str | None,
    typer.Option(
        callback=lambda name: normal(name) if name else None,
        help="The part; may be left out if the model has one bank.",
    ),
]


def station_file(path: Path) -> StationFile | None:
    """Read the station file that a path names; None for any other file or folder.

    Parameters
    ----------
    path : Path
        A file whose name ends in `.toml`, or a folder with `station.toml` and no model in it.

    Raises
    ------
    InputError
        If it is a station file that cannot be used.
    """
    if path.suffix == ".toml" and not path.is_dir():
        found = path
    elif (path / "station.toml").is_file() and find_model(path) is None:
        found = path / "station.toml"
    else:
        return None
    from common.plant.station.station_file import read_station_file

    return read_station_file(found)


def model_folder(path: Path) -> Path:
    """Folder of the model that a path stands for.

    Parameters
    ----------
    path : Path
        A model or run folder, returned as it is; or a station file, which stands for the
        station's active model.

    Raises
    ------
    InputError
        If it is a station file that cannot be used, or of a station without an active model.
    """
    station = station_file(path)
    return path if station is None else active_folder(station)


def active_folder(station: StationFile) -> Path:
    """Folder of a station's active model; see `model_folder`."""
    from common.line.models import ModelVersions

    active = ModelVersions(station.models_dir).active()
    if active is None:
        raise InputError(
            f"{station.path}: {station.station} has no active model in {station.models_dir}; a "
            "run delivers one, and `fedpatchcore models` lists and activates those that are there"
        )
    return active.folder


def model_and_station(path: Path, station: str | None) -> tuple[Path, str | None]:
    """Folder of a model, and whose threshold judges.

    Parameters
    ----------
    path : Path
        As in `model_folder`.
    station : str or None
        As the user named it. Where nobody was named, and the path is a station file, it is that
        station, if its model knows it: what it judges by at the line.
    """
    described = station_file(path)
    if described is None:
        return path, station
    folder = active_folder(described)
    if station is None:
        from common.patchcore.model_files import read_facts

        known = read_facts(folder / FACTS).get("stations", {})
        station = described.station if described.station in known else None
    return folder, station


def login() -> str:
    """Name of who runs the command."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        import os

        return f"user {os.getuid()}"


def print_range(paths: list[Path]) -> None:
    """Warn of a camera's bits in a larger file."""
    from common.data.remarks import range_remark

    if paths and (remark := range_remark(paths)) is not None:
        note(remark)


def short(path: Path) -> str:
    """Name an image by its folder and file."""
    return str(Path(path.parent.name) / path.name)
