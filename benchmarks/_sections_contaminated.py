"""CONTAMINATED.md: figures of `contaminated.py` in, Markdown out."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Final

from benchmarks._markdown import Json, about, table

PAGE: Final = Path(__file__).resolve().parent / "CONTAMINATED.md"


def contaminated(result: Json) -> str:
    """The whole page."""
    parts = [
        "# Good images that are not good\n\nMade by `benchmarks/contaminated.py` (`python "
        "benchmarks/contaminated.py` alone makes it anew of `benchmarks/results/"
        "contaminated.json`). Defective images of the test set replace 5 or 10 % of the training "
        "images, or one of the held-out ones; a quarter of the training images is held out, the "
        "target is 5 %. Sums over the seeds; AUROC and AUC-sPRO (limit 0.05) are means."
    ]
    for name, own in sorted(result["parts"].items()):
        parts.append(f"## {name}\n\n{_part(own)}")
    parts.append(about(result))
    return "\n\n".join(parts) + "\n"


def _part(own: Json) -> str:
    groups: dict[tuple[str, str], list[Json]] = {}
    for run in own["runs"]:
        groups.setdefault((run["kind"], run["audit_good"]), []).append(run)
    rows, audits = [], []
    for (kind, how), runs in groups.items():
        total = {key: sum(run[key] for run in runs) for key in _SUMS}
        rows.append(
            (
                kind,
                how,
                f"{total['found']} of {total['defects']}",
                f"{total['false_alarms']} of {total['good']}",
                f"{statistics.mean(run['image_auroc'] for run in runs):.3f}",
                f"{statistics.mean(run['auc_spro'] for run in runs):.3f}",
            )
        )
        if how == "report":
            audits.append(
                (
                    kind,
                    f"{total['suspects_bad']} of {total['bad']}",
                    f"{total['suspects'] - total['suspects_bad']} of "
                    f"{total['images'] - total['bad']}",
                    _share(total["suspects_bad"], total["suspects"]),
                    f"{total['beyond_bad']} of {total['held_out_bad']}",
                    total["beyond"] - total["beyond_bad"],
                )
            )
    seconds = statistics.median(
        run["audit_seconds"] for run in own["runs"] if run["audit_good"] == "report"
    )
    settings = own["settings"]
    size = f"{settings['image-size']} px" if settings["image-size"] else "images of their own size"
    return "\n\n".join(
        [
            f"{'Drawings: ' if own['drawn'] else ''}{own['category']}, {own['train']} training "
            f"images, {settings['backbone']}, {size}, {own['seeds']} seeds.",
            table(
                ["defective", "audit-good", "defects found", "false alarms", "AUROC", "AUC-sPRO"],
                rows,
            ),
            table(
                [
                    "defective",
                    "bad images flagged (recall)",
                    "good images flagged",
                    "precision",
                    "bad held-out scores beyond the fence",
                    "good ones beyond it",
                ],
                audits,
            ),
            f"The audit takes {seconds:.2f} s of processor (median), the features of the training "
            f"images {own['feature_seconds']:.1f} s: {seconds / own['feature_seconds']:.0%}.",
        ]
    )


_SUMS = (
    "found",
    "defects",
    "false_alarms",
    "good",
    "suspects",
    "suspects_bad",
    "bad",
    "images",
    "beyond",
    "beyond_bad",
    "held_out_bad",
)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def write_page(result: Json) -> None:
    """Write the page anew."""
    PAGE.write_text(contaminated(result), encoding="utf-8")
