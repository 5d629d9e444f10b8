"""Preflight of a station: everything that would stop it in a run, found before it starts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from common.check import CheckOptions
from common.config import NAMED_WEIGHTS, Settings
from common.errors import InputError
from common.plant.preflight.connection import SECONDS
from common.plant.preflight.credentials import (
    check_app_key,
    check_authority,
    check_certificate,
    check_key,
)
from common.plant.preflight.data import check_data, check_weights, weigh
from common.plant.preflight.findings import Preflight
from common.plant.preflight.line import check_line
from common.plant.preflight.machine import check_cache, check_disk, check_memory
from common.plant.preflight.server import check_gateway
from common.plant.station.station_file import StationFile, read_station_file


def check_station(
    path: Path,
    settings: Settings | None = None,
    options: CheckOptions | None = None,
    seconds: float = SECONDS,
    line_only: bool = False,
) -> Preflight:
    """Look a station over: images, weights, disk, memory, key, the way to the server, the line.

    Parameters
    ----------
    path : Path
        The station file, or the folder that holds `station.toml`.
    settings : Settings, optional
        Of the runs that are planned: backbone, layers and so on decide about fingerprint, disk and
        memory. Default: the settings' defaults.
    options : CheckOptions, optional
        The false-alarm rate that the held-out images are to promise.
    seconds : float
        Longest wait of any one step on the network.
    line_only : bool
        Look at the service at the line alone, as the user that it runs as: what the station has,
        that user may not even read.

    Returns
    -------
    Preflight
        Every fault that was found; later checks go on where an earlier one failed, unless they
        depend on it.

    Raises
    ------
    InputError
        If the station file itself cannot be used, or the line is asked for and it has no [line].

    Notes
    -----
    Changes nothing on the station and starts no process of Flower. Of the server it asks for four
    answers: its health, a call of the control API, which must be refused, a call of the fleet API
    that does not exist, which must reach the SuperLink, and one that is refused for its contents
    after the SuperLink has looked the station's key up.
    """
    file = read_station_file(path)
    report = Preflight(file.path, file.station)
    now = dt.datetime.now(dt.UTC)
    if file.line is None and line_only:
        raise InputError(
            f"{file.path}: has no section [line]; expected one with `journal`, at least, as "
            "`fedpatchcore serve STATION.toml` reads it"
        )
    if file.line is not None:
        check_line(file, report, now, seconds)
    if line_only:
        check_key(file, report)
        return report
    _check_work(file, settings or Settings(), options or CheckOptions(), report)
    check_key(file, report)
    check_certificate(file, report, now)
    check_app_key(file, report)
    if check_authority(file, report, now):
        check_gateway(file, report, now, seconds)
    return report


def _check_work(
    file: StationFile, settings: Settings, options: CheckOptions, report: Preflight
) -> None:
    """Images, weights, and what both of them ask of the machine."""
    settings = _own(file, settings)
    holding = check_data(file, settings, options, report)
    synthetic = holding is not None and holding.index.synthetic
    extractor = check_weights(file, settings, synthetic, report)
    there = check_cache(file, report)
    if holding is None or extractor is None:
        return
    load = weigh(holding, extractor, settings)
    if there is not None:
        check_disk(file, settings, load, there, report)
    check_memory(file, settings, load, report)


def _own(file: StationFile, settings: Settings) -> Settings:
    """The run's settings, with what the station decides for itself in place."""
    # As a station does it: no run names a file there.
    weights = settings.weights if settings.weights in NAMED_WEIGHTS else "auto"
    return settings.with_(
        data_root=str(file.data_root),
        weights=file.weights or weights,
        device=file.device or settings.device,
        batch_size=file.batch_size or settings.batch_size,
    )
