"""`audit`: what the journal of a station says, and whether it is as it was written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.cli.console import console, note
from common.cli.line.audit_text import print_part, print_summary
from common.cli.shared import SetOption, at_work, changed, progress_bar, usable_out
from common.errors import InputError
from common.paths import json_text
from common.system.garbage import imported_for_good

if TYPE_CHECKING:
    from common.line.journal import Entry, Findings, Head, JournalReader, Signer
    from common.line.journal.replay import Replay

_MOST_PARTS = 20


def audit(
    journal: Annotated[Path, typer.Argument(help="Folder of a journal, as `serve --journal`.")],
    part: Annotated[
        str | None, typer.Option("--part", help="Part number; #17 for the entry with id 17.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every row, head and image; exit 1 if changed.")
    ] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Judge kept images again; exit 1 if a score differs.")
    ] = False,
    models: Annotated[
        Path | None,
        typer.Option("--models", help="Model, folder of models, or station.toml."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="station.pub checks heads; station.key signs exports, too."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Write all parts: FILE.csv or FILE.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    changes: SetOption = None,
) -> None:
    """Answer for each verdict at the line: by which model, threshold and whom; what was changed.

    Example: fedpatchcore audit journal --part 4711 --models station.toml
    """
    from common.line.journal import Journal

    if journal.name == "journal.sqlite":
        journal = journal.parent
    place, key = _station_paths(models, key)
    if replay and place is None:
        raise InputError("--replay: give the recorded models by --models DIR or station.toml")
    said: dict[str, Any] = {}
    bad = False
    with Journal.reading(journal) as reader:
        if export is not None:
            said["export"] = _export(journal, reader, export, key, as_json)
        if verify:
            findings = _verify(journal, key)
            said["verify"], bad = _findings(findings), not findings.whole
            if not as_json:
                _print_findings(findings)
        entries = _entries_of(reader, part) if part is not None else None
        if replay:
            done = _replay(reader, entries, place, changes)
            said["replay"] = asdict(done)
            bad = bad or done.different > 0
            if not as_json:
                _print_replay(done)
        if entries is not None and not replay:
            said["parts"] = print_part(reader, entries, _models(place), quiet=as_json)
        elif not said:
            said["summary"] = asdict(reader.summary())
            if not as_json:
                print_summary(journal, reader.summary())
    if as_json:
        typer.echo(json_text(said))
    if bad:
        raise typer.Exit(1)


def _station_paths(models: Path | None, key: Path | None) -> tuple[Path | None, Path | None]:
    """A station's file stands for its models and its key."""
    if models is None or not (models.is_file() or (models / "station.toml").is_file()):
        return models, key
    from common.plant.station.station_file import read_station_file

    station = read_station_file(models)
    own = key
    if own is None and station.key.is_file():
        own = station.key
    return station.models_dir, own


def _models(place: Path | None) -> dict[str, Path]:
    from common.line.journal.recorded_models import models_in

    return models_in(place) if place is not None else {}


def _entries_of(reader: JournalReader, part: str) -> list[Entry]:
    """Entries of a part, the newest first."""
    if part.startswith("#") and part[1:].isascii() and part[1:].isdigit():
        return [reader.entry(int(part[1:]))]
    found = reader.parts(part=part, limit=_MOST_PARTS)
    if not found:
        raise InputError(f"--part {part[:200]}: the journal has no such part")
    return found


def _export(
    journal: Path, reader: JournalReader, path: Path, key: Path | None, quiet: bool
) -> dict[str, Any]:
    """Sign a head, and write what it covers."""
    import itertools

    from common.line.journal.export import ENDINGS, write_export

    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"--export {path}: expected a file name that ends with .csv or .json")
    usable_out(path.parent)
    signer, last = _signer(key), reader.summary().head
    head, covered = None, reader.entries()
    with at_work():
        if signer is not None or last is None or not last.key:
            head = _sign(journal, signer)
            end = head.seq
            covered = itertools.takewhile(lambda entry: entry.id <= end, covered)
        count = write_export(covered, path)
    if not quiet:
        console.print(f"Written: {path} ({count} parts)", soft_wrap=True)
        if head is not None:
            text = f"Head: row {head.seq}, {head.hash}, {head.signed_at}"
            console.print(text, soft_wrap=True)
        if head is None or not head.signature:
            note("no head was signed: give station.key by --key, or station.toml by --models")
    return {"file": str(path), "parts": count, "head": head and asdict(head)}


def _sign(journal: Path, signer: Signer | None) -> Head:
    """Sign the end of the journal, which a service may be writing."""
    from common.line.journal import Journal, KeepRule
    from common.line.journal.journal import BusyError, sign_beside

    # Nothing is tidied up by who only looks.
    all_kept = KeepRule(one_in=0, days=100_000, gigabytes=1e9)
    try:
        with Journal(journal, signing=signer, keep=all_kept) as writer:
            return writer.sign_head("export")
    except BusyError:
        return sign_beside(journal, signer)


def _signer(key: Path | None) -> Signer | None:
    """Who signs, if the key file is a private one."""
    from common.plant.keys.journal_keys import head_signer, is_private

    return head_signer(key) if key is not None and is_private(key) else None


def _verify(journal: Path, key: Path | None) -> Findings:
    with imported_for_good():
        from common.line.journal import verify
        from common.plant.keys.journal_keys import head_key

    public = head_key(key) if key is not None else None
    with at_work():
        return verify(journal, public)


def _findings(findings: Findings) -> dict[str, Any]:
    return {
        "whole": findings.whole,
        "rows": findings.rows,
        "findings": [asdict(one) for one in findings.found.values()],
        "heads": findings.heads,
        "last_head": findings.head and asdict(findings.head),
        "images": findings.images,
        "notes": findings.notes,
    }


def _print_findings(findings: Findings) -> None:
    rows = sum(findings.rows.values())
    for one in findings.found.values():
        more = f" (and {one.count - 1} more)" if one.count > 1 else ""
        console.print(f"{one.kind}: {one.what}{more}", soft_wrap=True)
    for text in findings.notes:
        note(text)
    read = f"{rows} rows, {findings.heads} heads, {findings.images} images"
    if findings.whole:
        console.print(f"Whole: {read}", soft_wrap=True)
    else:
        console.print(f"Changed: {len(findings.found)} kinds of fault in {read}", soft_wrap=True)
    if head := findings.head:
        by = f"signed by {head.key}" if head.key else "not signed"
        console.print(f"Last head: row {head.seq} at {head.signed_at}, {by}", soft_wrap=True)


def _replay(
    reader: JournalReader,
    entries: list[Entry] | None,
    place: Path | None,
    assignments: list[str] | None,
) -> Replay:
    with imported_for_good():
        from common.line.journal.replay import replay

    settings = changed(assignments)
    total = len(entries) if entries is not None else reader.summary().rows["verdicts"]
    with at_work(), progress_bar("judging again") as show:
        return replay(
            reader,
            entries if entries is not None else reader.entries(),
            _models(place),
            settings,
            lambda done: show("judging again", done, total),
        )


def _print_replay(done: Replay) -> None:
    console.print(f"{done.equal} of {done.judged} scores are equal, bit for bit", soft_wrap=True)
    for number, then, now in done.first_different:
        said = "cannot be judged now" if now is None else f"now {now!r}"
        console.print(f"entry {number}: {then!r} in the journal, {said}", soft_wrap=True)
    if done.without_image:
        note(f"{done.without_image} parts whose image is not kept were left out")
    if done.without_score:
        note(f"{done.without_score} parts that were not judged then were left out")
    for sha256, count in done.without_model.items():
        note(f"{count} parts were judged by the model {sha256[:12]}..., which is not here")
