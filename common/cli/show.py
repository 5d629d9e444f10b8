"""`show`: what a model is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from common.cli.console import console
from common.cli.model_options import ModelArgument, model_folder
from common.paths import json_text
from common.system.garbage import imported_for_good


def show(
    model: ModelArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say what a model is: parts, rows, stations, feature space, thresholds and what they promise.

    Example: fedpatchcore show outputs/iid
    """
    with imported_for_good():
        from common.patchcore.model_store import SavedModel

    model = model_folder(model)
    saved = SavedModel.load(model)
    facts = {
        "categories": list(saved.categories),
        "scope": saved.scope,
        "rows": {name: len(rows) for name, rows in saved.banks.items()},
        "feature_dim": next(iter(saved.banks.values())).shape[1],
        "number_format": str(next(iter(saved.banks.values())).dtype),
        "feature_space": saved.space.to_json(),
        "fingerprint": saved.space.fingerprint,
        "image_score": saved.image_score,
        "augment": saved.augment,
        "thresholds": saved.thresholds,
        "calibration_images": {name: len(own) for name, own in saved.calibration.items()},
        "stations": {name: own.thresholds for name, own in saved.stations.items()},
        "coreset_projection": asdict(saved.selection) if saved.selection else None,
        "radius": saved.radius,
        "radii": saved.radii,
        "shares": {name: asdict(own) for name, own in sorted(saved.shares.items())},
        "stale": list(saved.stale),
        "provenance": saved.provenance,
    }
    if as_json:
        typer.echo(json_text(facts))
        return
    table = Table(title=f"Model {model}", title_justify="left", show_header=False)
    table.add_column("what", style="bold")
    table.add_column("value", overflow="fold")
    for name, value in _description(facts, saved.space.describe()):
        table.add_row(name, value)
    console.print(table)


def _description(facts: dict[str, Any], space: str) -> list[tuple[str, str]]:
    """The lines of `show`."""
    from common.evaluation.drift import STALE

    origin = facts["provenance"]
    rows = ", ".join(f"{name} {count}" for name, count in facts["rows"].items())
    lines = [
        ("parts", ", ".join(facts["categories"]) or "not named"),
        ("bank", f"{rows} rows of {facts['feature_dim']} numbers ({facts['number_format']})"),
        *([("shares", _shares(facts["shares"]))] if facts["shares"] else []),
        ("feature space", space),
        ("fingerprint", facts["fingerprint"]),
        ("coreset", _selection(facts["coreset_projection"])),
        ("radius", _radii(facts["radii"])),
        ("image score", facts["image_score"]),
        *([("augment", facts["augment"])] if facts["augment"] != "none" else []),
        ("made", f"{origin.get('created', 'unknown')} by {origin.get('method', 'unknown')}"),
    ]
    if origin.get("flower_run_id"):
        lines.append(("Flower run", str(origin["flower_run_id"])))
    if program := program_of(origin):
        lines.append(("by program", program))
    if origin.get("synthetic_data"):
        lines.append(("images", "SYNTHETIC (drawings)"))
    stations = origin.get("stations") or {}
    total = sum(stations.values())
    lines += [
        (f"station {name}", f"{count} rows ({count / total:.0%})")
        for name, count in sorted(stations.items())
    ]
    for category in facts["categories"] or sorted(facts["thresholds"]):
        own = facts["thresholds"].get(category)
        text = "none: no good images were held out"
        if own:
            text = f"{own['value']:.4g}. {own.get('note', '')}"
            if own.get("by"):
                before = own.get("previous")
                was = "none before" if before is None else f"{before:.4g} before"
                text += f" Set by {own['by']}, {own['when']}: {own['reason']} ({was})"
            if category in facts["stale"]:
                text += f". STALE: {STALE}"
        lines.append((f"threshold {category}", text))
        lines += [
            (
                f"  at {name}",
                f"{at['value']:.4g}, promises {at['promised_false_alarm_rate']:.1%} from "
                f"{at['held_out_images']} images",
            )
            for name, every in sorted(facts["stations"].items())
            if (at := every.get(category))
        ]
    lines += [
        (
            f"added {added['when']}",
            f"{added['rows']} rows from {added['images']} images into bank {added['bank']}",
        )
        for added in origin.get("added", [])
    ]
    return lines


def program_of(provenance: Mapping[str, Any]) -> str:
    """By which program a model was made, in words; empty of one made before that was kept."""
    version, app = provenance.get("program_version"), provenance.get("app_sha256")
    if not version:
        return ""
    return f"fedpatchcore {version}" + (f", app {str(app)[:12]}" if app else "")


def _radii(radii: dict[str, float]) -> str:
    """One number of a model with one bank, else each bank's."""
    if len(radii) == 1:
        return f"{next(iter(radii.values())):.4g}"
    return ", ".join(f"{name} {own:.4g}" for name, own in sorted(radii.items())) or "unknown"


def _shares(shares: dict[str, dict[str, Any]]) -> str:
    """Rows of each part in a shared bank, and how far its own patches lie from them."""
    return ", ".join(
        f"{name} {own['rows']} rows"
        + ("" if own["radius"] is None else f" (radius {own['radius']:.4g})")
        for name, own in shares.items()
    )


def _selection(facts: dict[str, int] | None) -> str:
    """How the coreset was selected."""
    if facts is None:
        return "selected in an unknown projection (saved by an older version)"
    if facts["components"] == 0:
        return f"selected in full, without a projection (seed {facts['seed']})"
    return f"selected in a random projection to {facts['components']} (seed {facts['seed']})"
