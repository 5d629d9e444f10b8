"""What a watch has written is counted, also where the interruption came before it was told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.cli import inspect


def test_a_line_on_the_disk_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries: list[dict[str, Any]] = [{"score": 1.0, "anomalous": False}]  # an earlier watch's

    class Cut:
        """Writes two images and tells of none before somebody ends it."""

        def __init__(self, *_: object) -> None:
            self.journal = SimpleNamespace(entries=entries)

        def run(self, told: object) -> None:
            entries.append({"score": 9.0, "anomalous": True})
            entries.append({"score": None, "anomalous": None})
            raise KeyboardInterrupt

    monkeypatch.setattr("common.inspection.watch.Watcher", Cut)
    tally = inspect._Tally(single=True)
    with pytest.raises(KeyboardInterrupt), inspect._told_at_the_end(tally, tmp_path):
        inspect._watch(None, tmp_path, None, tally)  # type: ignore[arg-type]
    assert (tally.judged, tally.anomalous, tally.unreadable) == (2, 1, 1)
    assert "2 images" in capsys.readouterr().out
