"""Preflight of a station's service at the line: model, journal, tokens, room for pictures."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path
from typing import Final

from common.check.findings import Kind
from common.errors import FedPatchCoreError, InputError
from common.line.journal import Journal, KeepRule, verify
from common.line.journal.schema import DATABASE
from common.line.models import ModelVersions, model_sha256
from common.line.service.access import OWN_ADDRESSES, Tokens
from common.patchcore.model_store import SavedModel
from common.plant.keys.journal_keys import head_key
from common.plant.preflight.findings import Preflight, gigabytes
from common.plant.preflight.line_port import check_line_certificate, check_port
from common.plant.station.line_section import LineSection
from common.plant.station.station_file import StationFile

_MODEL: Final = Kind(
    "line-model",
    "error",
    "the service judges by the active model, and does not start without one",
    "let a run deliver one, or activate one with `fedpatchcore models STATION.toml`",
)
_DAMAGED: Final = Kind(
    "line-model-damaged",
    "error",
    "verdicts would not be those of the model that was delivered and accepted",
    "go back with `fedpatchcore models STATION.toml --rollback`, or have it delivered again "
    "(`fedpatchcore plant deliver RUN_ID --station NAME`)",
)
_JOURNAL: Final = Kind(
    "line-journal",
    "error",
    "a part counts only when its verdict is in the journal",
    "give the service's user a folder of its own, or mend `journal` in [line]",
)
_CHANGED: Final = Kind(
    "line-journal-changed",
    "error",
    "the journal does not show any more what was judged",
    "keep a copy of the folder as it is, then `fedpatchcore audit JOURNAL --verify --models "
    "STATION.toml` shows all; docs/journal.md tells what each finding means",
)
_TOKENS: Final = Kind(
    "line-tokens",
    "error",
    "with TLS nobody is let in without a token, and the service does not start",
    "make one with `fedpatchcore serve STATION.toml --new-token line`",
)
_NO_ROOM: Final = Kind(
    "line-disk",
    "warning",
    "where the disk is full no verdict can be written, and every part is refused",
    "free some space, or set keep-gb in [line] to what there is room for",
)


def check_line(file: StationFile, report: Preflight, now: dt.datetime, seconds: float) -> None:
    """Look over all that `serve STATION.toml` needs; changes nothing, and starts nothing.

    Parameters
    ----------
    file : StationFile
        With a section `[line]`.
    report : Preflight
    now : datetime
        With a time zone.
    seconds : float
        Longest wait for whoever has the port.

    Notes
    -----
    The journal is read from its first row to its last: seconds where there are hundreds of
    thousands.
    """
    assert file.line is not None
    _check_model(file, report)
    kept = _check_journal(file, file.line, report)
    secure = check_line_certificate(file, file.line, report, now)
    _check_tokens(file.line, secure, report)
    check_port(file.line, report, seconds)
    _check_room(file.line, kept, report)


def _check_model(file: StationFile, report: Preflight) -> None:
    try:
        active = ModelVersions(file.models_dir).active()
    except (FedPatchCoreError, OSError) as error:
        report.add(_DAMAGED, file.models_dir, str(error))
        return
    if active is None:
        report.add(_MODEL, file.models_dir, "no model is active")
        return
    try:
        model = SavedModel.load(active.folder)
        found = model_sha256(active.folder)
    except (FedPatchCoreError, OSError) as error:
        report.add(_DAMAGED, active.folder, str(error))
        return
    if found != active.sha256:
        was = f"sha256 {found[:12]}..., it was delivered as {active.sha256[:12]}..."
        report.add(_DAMAGED, active.folder, was)
        return
    known = ", ".join(model.categories)
    report.facts["line model"] = f"{active.name} (sha256 {found[:12]}...) of {known}"


def _check_journal(file: StationFile, line: LineSection, report: Preflight) -> int:
    """The journal can be written and is as it was written; returns bytes of images in it."""
    folder = line.journal
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        report.add(_JOURNAL, folder, f"{there} is no folder")
        return 0
    database = folder / DATABASE
    closed = [p for p in (there, database) if p.exists() and not os.access(p, os.W_OK)]
    if closed or not os.access(there, os.X_OK):
        found = f"user {os.geteuid()} may not write {closed[0] if closed else there}"
        report.add(_JOURNAL, folder, found)
    if not database.exists():
        report.facts["line journal"] = f"none yet in {folder}; made at the first start"
        return 0
    try:
        findings = verify(folder, head_key(file.key), images=False)
        with Journal.reading(folder) as journal:
            summary = journal.summary()
    except (FedPatchCoreError, OSError) as error:
        report.add(_JOURNAL, folder, str(error))
        return 0
    for one in findings.found.values():
        more = f" (and {one.count - 1} more)" if one.count > 1 else ""
        report.add(_CHANGED, folder, f"{one.kind}: {one.what}{more}")
    head = findings.head
    signed = "no signed head" if head is None else f"head of row {head.seq} at {head.signed_at}"
    report.facts["line journal"] = (
        f"{findings.last} rows, {signed}; {summary.images} pictures, "
        f"{gigabytes(summary.image_bytes)}"
    )
    return summary.image_bytes


def _check_tokens(line: LineSection, secure: bool, report: Preflight) -> None:
    tokens = Tokens(line.journal, line.tokens)
    try:
        roles = tokens.roles()
    except InputError as error:
        report.add(_TOKENS, tokens.path, str(error), "mend the file as it says")
        return
    if not roles and (secure or line.host not in OWN_ADDRESSES):
        report.add(_TOKENS, tokens.path, "holds no token")
    shown = ", ".join(f"{number} {role}" for role, number in roles.items())
    report.facts["line tokens"] = shown or "none: whoever is on this machine may use the service"


def _check_room(line: LineSection, kept: int, report: Preflight) -> None:
    rule = KeepRule() if line.keep_gb is None else KeepRule(gigabytes=line.keep_gb)
    there: Path = next(place for place in (line.journal, *line.journal.parents) if place.is_dir())
    free, more = shutil.disk_usage(there).free, max(0, rule.bytes - kept)
    report.facts["line disk"] = f"{gigabytes(free)} free, pictures may take {gigabytes(more)} more"
    if free < more:
        found = f"{gigabytes(free)} free; keep-gb lets pictures grow by {gigabytes(more)}"
        report.add(_NO_ROOM, line.journal, found)
