"""What a plant's run leaves, looked at as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from local_grid import Finished

from common.protocol.messages import without_paths


def strings(content: Any) -> Iterator[str]:
    """Every string in a JSON document, keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from strings(value)


def require_no_path(done: Finished, root: Path) -> None:
    """No path and no image's name in anything that is written."""
    for path in done.folder.rglob("*.json"):
        for text in strings(json.loads(path.read_text())):
            assert without_paths(text) == text, (path.name, text)
            assert ".png" not in text, (path.name, text)
    report = (done.folder / "report.html").read_text()
    assert str(root) not in report
    assert re.search(r"\b\d{4}\.png", report) is None


def comparable(done: Finished, stations: Sequence[str]) -> Any:
    """Metrics without the words in which a plant and its simulation differ."""
    told = {
        category: {key: value for key, value in told.items() if key not in ("method", "weights")}
        for category, told in done.metrics.items()
    }
    text = json.dumps(told)
    for number, name in enumerate(stations):
        text = text.replace(name, f"station-{number}")
    return json.loads(text)


def require_same(done: Finished, simulated: Finished, stations: Sequence[str]) -> None:
    """What a plant of these stations gives and what its simulation does, bit for bit."""
    assert simulated.error is None
    assert simulated.bank == done.bank
    assert comparable(simulated, stations) == comparable(done, stations)
    for number, name in enumerate(stations):
        for key in ("images", "patches", "budget", "rows_sent", "rows_chosen", "radius"):
            own = done.contributions[name][key]
            assert own == simulated.contributions[f"station-{number}"][key], (name, key)
