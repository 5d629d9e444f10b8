"""`serve`: the detector as a service at the line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.cli.console import console, note
from common.cli.model_options import CategoryOption, station_file
from common.cli.shared import SetOption, at_work, changed
from common.errors import InputError
from common.runs.honoured import require_used
from common.system.garbage import imported_for_good

if TYPE_CHECKING:
    from socket import socket

    from common.line.service.access import Tokens
    from common.line.service.bounds import Bounds
    from common.line.service.server import Address
    from common.line.service.service import Service
    from common.plant.station.line_section import LineSection
    from common.plant.station.station_file import StationFile


def serve(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="Model or run folder, or station.toml: its active model, and what its section "
            "[line] says in the place of options.",
        ),
    ] = None,
    journal: Annotated[
        Path | None, typer.Option("--journal", help="Folder of the journal; made if absent.")
    ] = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", help="Judge the images of this folder, too.")
    ] = None,
    category: CategoryOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Default: 8600. 0: any free one.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM certificate, for TLS; its names are the service's.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(help="File of the tokens. Default: tokens.json in the journal's folder."),
    ] = None,
    new_token: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="Make a token (line, operator, engineer), print, end."),
    ] = None,
    queue: Annotated[int, typer.Option(min=1, max=1000, help="Parts in the house at once.")] = 16,
    largest_upload: Annotated[float, typer.Option(min=0.001, help="In MB.")] = 50.0,
    largest_picture: Annotated[float, typer.Option(min=0.001, help="In megapixels.")] = 50.0,
    upload_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds in which a request must have arrived.")
    ] = 30.0,
    most_memory: Annotated[
        float | None,
        typer.Option(min=0.001, help="GB that the process should use at most; else what is there."),
    ] = None,
    keep_one_in: Annotated[
        int, typer.Option(min=0, help="Of good parts, keep one image in so many; 0: none.")
    ] = 100,
    keep_days: Annotated[float, typer.Option(help="How long images are kept.")] = 365.0,
    keep_gb: Annotated[
        float | None, typer.Option(help="How many GB of images are kept. Default: 20.")
    ] = None,
    changes: SetOption = None,
) -> None:
    """Judge parts that a line posts; every verdict is in the journal before it is answered.

    Listens on this machine alone, without tokens. On another address it takes TLS and tokens.
    /docs on it tells all operations.

    Example: fedpatchcore serve station.toml --journal /var/lib/line/journal

    Example: fedpatchcore serve station.toml

    Example: fedpatchcore serve outputs/iid --journal line --watch /camera --category tank_screw

    Example: fedpatchcore serve station.toml --new-token line
    """
    with imported_for_good():
        from common.line.service.access import Tokens
        from common.line.service.bounds import Bounds
        from common.line.service.server import Address, bind, check_address

    file = None if model is None else station_file(model)
    if new_token is not None and ((model is not None and file is None) or watch is not None):
        raise InputError(
            "--new-token makes a token and ends; leave --watch and a MODEL that is no "
            "station.toml away"
        )
    if new_token is not None and tokens is not None:
        journal = journal or tokens.parent
    line = _line(
        file,
        {
            "journal": journal,
            "host": host,
            "port": port,
            "certificate": certificate,
            "certificate_key": certificate_key,
            "tokens": tokens,
            "keep_gb": keep_gb,
        },
    )
    known = Tokens(line.journal, line.tokens)
    if new_token is not None:
        console.print(known.add(new_token), highlight=False, soft_wrap=True)
        return
    if model is None:
        raise InputError("give a MODEL, or a station.toml, or --new-token ROLE")
    if category is not None and watch is None:
        raise InputError("--category is for --watch; a part that is posted names its own")
    own = changed(changes)
    require_used("inspect", changes)
    bounds = Bounds(
        places=queue,
        upload_bytes=round(largest_upload * 1e6),
        pixels=round(largest_picture * 1e6),
        body_seconds=upload_timeout,
        memory_bytes=None if most_memory is None else round(most_memory * 1e9),
    )
    address = Address(line.host, line.port, line.certificate, line.certificate_key)
    check_address(address, known)
    _tell_end(line.certificate)
    with at_work():
        opened = bind(address)
        try:
            keep = {"one_in": keep_one_in, "days": keep_days}
            if line.keep_gb is not None:
                keep["gigabytes"] = line.keep_gb
            service = _service(model, file, line.journal, bounds, own, keep)
            try:
                _serve(service, address, known, opened, (watch, category))
            finally:
                service.close()
        finally:
            opened.close()


def _line(file: StationFile | None, options: dict[str, Any]) -> LineSection:
    """What the options say, else the section [line] of a station file."""
    from common.plant.station.line_section import LineSection

    given = {name: value for name, value in options.items() if value is not None}
    if file is not None and file.line is not None:
        return replace(file.line, **given)
    if "journal" not in given:
        where = "" if file is None else f", or `journal` in a section [line] of {file.path}"
        raise InputError(f"give the folder of the journal: --journal DIR{where}")
    return LineSection(**given)


def _tell_end(certificate: Path | None) -> None:
    """Warn of a certificate that ends soon: nobody looks at a service that works."""
    if certificate is None:
        return
    from datetime import UTC, datetime

    from common.plant.keys.certificates import days_left, read_certificate
    from common.plant.keys.key_list import WARNING_DAYS

    own = read_certificate(certificate)
    if (days := days_left(own, datetime.now(UTC))) <= WARNING_DAYS:
        note(
            f"{certificate}: expires in {days} days, on {own.not_valid_after_utc:%Y-%m-%d}; renew "
            "it with `fedpatchcore keys DIR --renew --service NAME`, copy it here, restart this"
        )


def _service(
    model: Path,
    file: StationFile | None,
    journal: Path,
    bounds: Bounds,
    own: dict[str, Any],
    keep: dict[str, Any],
) -> Service:
    """Load the model, then open the journal."""
    from common.line.journal import Journal, KeepRule
    from common.line.models.versions import ModelVersions
    from common.line.service.resident import ActiveVersion, ModelSource, PlainFolder
    from common.line.service.service import Service
    from common.plant.keys.journal_keys import head_signer
    from common.plant.station.own_images import how_to_compute, station_rules

    source: ModelSource = PlainFolder(model)
    station: str | None = None
    changes, signer, rules = own, None, None
    if file is not None:
        source, station = ActiveVersion(ModelVersions(file.models_dir)), file.station
        signer = head_signer(file.key)
        changes, rules = how_to_compute(file, own), station_rules(file, own)
    source.newest()  # no model: said before anything is made
    book = Journal(journal, signing=signer, keep=KeepRule(**keep))
    try:
        return Service(source, book, bounds, station=station, changes=changes, rules=rules)
    except BaseException:
        book.close()
        raise


def _serve(
    service: Service,
    address: Address,
    tokens: Tokens,
    own: socket,
    watching: tuple[Path | None, str | None],
) -> None:
    from common.line.service.server import run_server
    from common.line.service.watched import WatchedFolder

    resident, (folder, category) = service.resident, watching
    for name in resident.categories:
        rule = resident.rule(name)
        shown = (
            "none: scores without verdicts" if rule.threshold is None else f"{rule.threshold:.4g}"
        )
        console.print(f"{name}: threshold {shown}, {rule.note}", soft_wrap=True)
        if rule.stale:
            from common.evaluation.drift import STALE

            note(STALE)
    watched = None if folder is None else WatchedFolder(service, folder, category)

    def ready(url: str) -> None:
        console.print(f"listening on {url} (operations: {url}/docs)", soft_wrap=True)
        if watched is not None:
            console.print(f"watching {watched.folder}", soft_wrap=True)
            watched.start()

    try:
        run_server(service, address, tokens, own, ready)
    finally:
        if watched is not None:
            watched.stop()
    console.print("ended", soft_wrap=True)
