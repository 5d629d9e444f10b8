"""What `audit` shows: one part on one screen, a journal in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from common.cli.console import console
from common.cli.show import program_of
from common.errors import FedPatchCoreError

if TYPE_CHECKING:
    from common.line.journal import Entry, JournalReader, Summary, Verdict

_MOST_SWITCHES = 3
_MOST_REVIEWS = 10
Lines = list[tuple[str, str]]


def print_part(
    journal: JournalReader, entries: list[Entry], models: Mapping[str, Path], quiet: bool
) -> list[dict[str, Any]]:
    """Show the newest entry of a part in full, the others in a line each.

    Returns
    -------
    list of dict
        The same for programs.
    """
    told = [_facts(journal, entry, models) for entry in entries]
    if quiet:
        return told
    entry = entries[0]
    title = f"Part {entry.verdict.part or '(no number)'}, entry {entry.id}"
    print_lines(title, _part_lines(entry, told[0]))
    for other in entries[1:]:
        console.print(
            f"also entry {other.id}: {other.judged_at[:19]} {_word(other.verdict)}, score "
            f"{_number(other.verdict.score)} (--part '#{other.id}')",
            soft_wrap=True,
        )
    return told


def print_summary(folder: Path, summary: Summary) -> None:
    """Show a journal in a few lines."""
    rows = ", ".join(f"{count} {kind}" for kind, count in summary.rows.items() if count)
    head, since = summary.head, summary.rows_since
    lines = [
        ("rows", rows or "none"),
        ("span", f"{summary.first or '-'} to {summary.last or '-'}"),
        *(
            (
                f"category {category}",
                f"{own['judged']} judged: {own['passed']} passed, {own['rejected']} rejected, "
                f"{own['undecided']} undecided; {own['reviewed']} reviewed",
            )
            for category, own in summary.categories.items()
        ),
        ("images", f"{summary.images} kept, {summary.image_bytes / 1e6:.1f} MB"),
        (
            "head",
            "none"
            if head is None
            else f"row {head.seq} at {head.signed_at} ({head.why}), "
            f"{'signed by ' + head.key if head.key else 'not signed'}; {since} rows since",
        ),
    ]
    print_lines(f"Journal {folder}", lines)


def print_lines(title: str, lines: Iterable[tuple[str, str]]) -> None:
    """A table of two columns."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    for what, value in lines:
        table.add_row(what, value)
    console.print(table)


def _facts(journal: JournalReader, entry: Entry, models: Mapping[str, Path]) -> dict[str, Any]:
    verdict = entry.verdict
    picture = journal.store.path(verdict.image_sha256) if entry.image_kept else None
    facts = {
        **asdict(entry),
        "picture": None if picture is None else str(picture),
        "reviews": [asdict(one) for one in journal.reviews(entry.id)],
        "switches": [
            asdict(one) for one in journal.switches(entry.judged_at, limit=_MOST_SWITCHES)
        ],
        "threshold_changes": [
            asdict(one)
            for one in journal.threshold_changes(
                verdict.category, entry.judged_at, limit=_MOST_SWITCHES
            )
        ],
        "model": _model(models.get(verdict.model_sha256), verdict),
    }
    return facts


def _model(folder: Path | None, verdict: Verdict) -> dict[str, Any] | None:
    """What a model's own file says of itself; None if it is not here."""
    if folder is None:
        return None
    from common.patchcore.model_files import read_facts
    from common.patchcore.model_folder import FACTS

    try:
        facts = read_facts(folder / FACTS)
    except FedPatchCoreError as error:
        return {"folder": str(folder), "error": str(error)}
    origin = facts.get("provenance") or {}
    return {
        "folder": str(folder),
        "made": origin.get("created"),
        "method": origin.get("method"),
        "flower_run_id": origin.get("flower_run_id"),
        "program_version": origin.get("program_version"),
        "app_sha256": origin.get("app_sha256"),
        "stations": origin.get("stations") or {},
        "added": origin.get("added") or [],
        "threshold": (facts.get("thresholds") or {}).get(verdict.category),
        "image_score": facts.get("image_score"),
        "rows": facts.get("rows"),
    }


def _part_lines(entry: Entry, facts: dict[str, Any]) -> Lines:
    verdict = entry.verdict
    lines = [
        ("verdict", f"{_word(verdict)} ({verdict.category}) at {entry.judged_at}"),
        ("score", f"{_number(verdict.score)}, threshold {_number(verdict.threshold)}"),
        ("threshold from", verdict.threshold_source or "not told"),
    ]
    if verdict.error:
        lines.append(("error", verdict.error))
    if verdict.regions:
        worst = verdict.regions[0]
        lines.append(
            (
                "regions",
                f"{len(verdict.regions)}, the worst at row {worst.get('peak_row')}, column "
                f"{worst.get('peak_column')}",
            )
        )
    picture = facts["picture"] or "not kept"
    lines += [
        ("picture", picture),
        ("image", f"{verdict.name or 'no name'}, sha256 {verdict.image_sha256}"),
        ("judged", f"in {verdict.seconds:.3f} s by version {verdict.program_version}"),
        ("model", f"run {verdict.run_id or 'unknown'}, sha256 {verdict.model_sha256}"),
        *_model_lines(facts["model"]),
    ]
    lines += [
        (
            "switched",
            f"{one['switched_at'][:19]} to run {one['run_id']} by {one['by']}: {one['why']}",
        )
        for one in facts["switches"]
    ]
    lines += [
        (
            "threshold set",
            f"{one['changed_at'][:19]} {_number(one['old'])} to {_number(one['new'])} by "
            f"{one['by']}: {one['why']}",
        )
        for one in facts["threshold_changes"]
    ]
    reviews = facts["reviews"]
    lines += [
        (
            "review",
            f"{one['reviewed_at'][:19]} {one['verdict']} by {one['by']}: {one['note'] or '-'}",
        )
        for one in reviews[-_MOST_REVIEWS:]
    ]
    return lines if reviews else [*lines, ("review", "none")]


def _model_lines(model: dict[str, Any] | None) -> Lines:
    if model is None:
        return [("", "not looked up: give its folder or station.toml by --models")]
    if "error" in model:
        return [("", model["error"])]
    flower = f", Flower run {model['flower_run_id']}" if model["flower_run_id"] else ""
    lines = [
        ("model folder", model["folder"]),
        ("its run", f"{model['method'] or 'unknown'}, {model['made'] or 'unknown'}{flower}"),
        ("its program", program_of(model) or "not told"),
    ]
    total = sum(model["stations"].values())
    stations = ", ".join(
        f"{name} {count} rows ({count / total:.0%})"
        for name, count in sorted(model["stations"].items())
    )
    lines.append(("in its bank", stations or "not told"))
    if own := model["threshold"]:
        lines.append(("it promises", str(own.get("note") or f"threshold {own.get('value')}")))
    return lines


def _word(verdict: Verdict) -> str:
    if verdict.error is not None:
        return "NOT JUDGED"
    return {True: "REJECTED", False: "passed", None: "undecided"}[verdict.anomalous]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
