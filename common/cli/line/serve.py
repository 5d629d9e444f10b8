"""`serve`: the detector as a service at the line."""

from __future__ import annotations

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


def serve(
    journal: Annotated[
        Path, typer.Option("--journal", help="Folder of the journal; made if absent.")
    ],
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="Model or run folder, or station.toml: its active model."
        ),
    ] = None,
    watch: Annotated[
        Path | None, typer.Option("--watch", help="Judge the images of this folder, too.")
    ] = None,
    category: CategoryOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8600,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM certificate, for TLS; its names are the service's.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
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
    keep_gb: Annotated[float, typer.Option(help="How many GB of images are kept.")] = 20.0,
    changes: SetOption = None,
) -> None:
    """Judge parts that a line posts; every verdict is in the journal before it is answered.

    Listens on this machine alone, without tokens. On another address it takes TLS and tokens.
    /docs on it tells all operations.

    Example: fedpatchcore serve station.toml --journal /var/lib/line/journal

    Example: fedpatchcore serve outputs/iid --journal line --watch /camera --category tank_screw

    Example: fedpatchcore serve --new-token line --journal /var/lib/line/journal
    """
    with imported_for_good():
        from common.line.service.access import Tokens
        from common.line.service.bounds import Bounds
        from common.line.service.server import Address, bind, check_address

    tokens = Tokens(journal)
    if new_token is not None:
        if model is not None or watch is not None:
            raise InputError("--new-token makes a token and ends; leave MODEL and --watch away")
        token = tokens.add(new_token)
        console.print(token, highlight=False, soft_wrap=True)
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
    address = Address(host, port, certificate, certificate_key)
    check_address(address, tokens)
    with at_work():
        opened = bind(address)
        try:
            service = _service(model, journal, bounds, own, (keep_one_in, keep_days, keep_gb))
            try:
                _serve(service, address, tokens, opened, (watch, category))
            finally:
                service.close()
        finally:
            opened.close()


def _service(
    model: Path,
    journal: Path,
    bounds: Bounds,
    own: dict[str, Any],
    keep: tuple[int, float, float],
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
    if (file := station_file(model)) is not None:
        source, station = ActiveVersion(ModelVersions(file.models_dir)), file.station
        signer = head_signer(file.key)
        changes, rules = how_to_compute(file, own), station_rules(file, own)
    source.newest()  # no model: said before anything is made
    book = Journal(journal, signing=signer, keep=KeepRule(*keep))
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
