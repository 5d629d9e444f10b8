"""Fields of a row as they are written: looked over before anything is."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from common.errors import InputError
from common.line.journal.rows import REVIEWS, SOURCES, Verdict
from common.line.journal.text import checked, file_text

_SHA256: Final = re.compile("[0-9a-f]{64}")
_MOST_REGIONS: Final = 5000
"""Of a picture that is noise all over, only the regions with the highest peaks are kept."""


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    """A verdict as its row holds it, but for the time.

    Raises
    ------
    InputError
        Naming the field, what was found and what is expected.
    """
    anomalous = verdict.anomalous
    if anomalous not in (None, True, False):
        raise InputError(f"anomalous: found {anomalous!r}; expected true, false or none")
    if verdict.source not in SOURCES:
        raise InputError(f"source: found {verdict.source!r}; expected {' or '.join(SOURCES)}")
    return {
        "part": None if verdict.part is None else checked(verdict.part, "part"),
        "category": checked(verdict.category, "category"),
        "score": number(verdict.score, "score"),
        "threshold": number(verdict.threshold, "threshold"),
        "anomalous": None if anomalous is None else int(anomalous),
        "regions": _regions(verdict.regions),
        "threshold_source": checked(verdict.threshold_source, "threshold source", needed=False),
        "model_sha256": digest(verdict.model_sha256, "model sha256"),
        "run_id": checked(verdict.run_id, "run id", needed=False),
        "image_sha256": digest(verdict.image_sha256, "image sha256"),
        "name": None if verdict.name is None else file_text(verdict.name),
        "source": verdict.source,
        "seconds": number(verdict.seconds, "seconds") or 0.0,
        "program_version": checked(verdict.program_version, "program version", needed=False),
        "error": None if verdict.error is None else file_text(verdict.error, "error"),
    }


def verdict_of(fields: dict[str, Any]) -> Verdict:
    """The verdict that a row holds; the other way round than `verdict_fields`."""
    anomalous = fields["anomalous"]
    own = {
        "anomalous": None if anomalous is None else bool(anomalous),
        "regions": json.loads(fields["regions"]),
    }
    return Verdict(**{**fields, **own})


def review_fields(part_id: int, verdict: str, by: str, note: str) -> dict[str, Any]:
    """A review as its row holds it, but for the time."""
    if verdict not in REVIEWS:
        raise InputError(f"review: found {str(verdict)[:50]!r}; expected {', '.join(REVIEWS)}")
    return {
        "part_id": part_id,
        "verdict": verdict,
        "author": checked(by, "by"),
        "note": checked(note, "note", needed=False),
    }


def digest(text: str, what: str) -> str:
    """Refuse what is no sha256."""
    if not (isinstance(text, str) and _SHA256.fullmatch(text)):
        raise InputError(f"{what}: found {str(text)[:70]!r}; expected 64 hexadecimal digits")
    return text


def number(value: float | None, what: str) -> float | None:
    """A finite number as the database gives it back: there is one zero, without a sign."""
    if value is None:
        return None
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise InputError(f"{what}: found {value!r}; expected a finite number")
    return float(value) + 0.0


def _regions(regions: list[dict[str, Any]]) -> str:
    try:
        kept = list(regions)[:_MOST_REGIONS]
        return json.dumps(kept, allow_nan=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InputError(f"regions: are no JSON ({error})") from error
