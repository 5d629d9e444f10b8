"""One judged part as clients get it: an entry of `results.json`, and what the line needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import PurePath
from typing import Any, Final

from common.line.journal import Entry

API: Final = "/api/v1"
PARTS: Final = f"{API}/parts"
EVENTS: Final = f"{API}/events"
TICKETS: Final = f"{EVENTS}/ticket"


def entry_json(entry: Entry) -> dict[str, Any]:
    """What is answered for a part; never a path of this machine.

    Parameters
    ----------
    entry : Entry
    """
    verdict, home = entry.verdict, f"{PARTS}/{entry.id}"
    facts: dict[str, Any] = {
        "id": entry.id,
        "judged_at": entry.judged_at,
        "part": verdict.part,
        "path": None if verdict.name is None else PurePath(verdict.name).name,
        "category": verdict.category,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "anomalous": verdict.anomalous,
        "regions": verdict.regions,
        "overlay": f"{home}/overlay.png",
        "model": {"run_id": verdict.run_id, "sha256": verdict.model_sha256},
        "threshold_source": verdict.threshold_source,
        "seconds": verdict.seconds,
        "source": verdict.source,
        "image_sha256": verdict.image_sha256,
        "image_kept": entry.image_kept,
        "program_version": verdict.program_version,
        "review": None if entry.review is None else asdict(entry.review),
    }
    return facts if verdict.error is None else {**facts, "error": verdict.error}
