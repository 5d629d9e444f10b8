"""Verdicts on the page and on the terminal: named, and shown as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_factory import write_run
from test_report_page import text_of

from common.analysis import write_report
from common.cli import runs as module
from common.cli.console import Screen

ODD = "cl\x1b[31mip <b>"
"""Names of categories come from stations; those of stations are letters and digits."""


def influence(verdict: str = "quarantine") -> dict[str, Any]:
    numbers = {"rows": 400, "share": 0.2, "used": 0.04, "used_by_itself": None}
    numbers |= {"rise_others": {"images": 9, "median": 0.125, "largest": 1.0}}
    numbers |= {"rates_others": {"found": 49, "found_without": 48, "false_alarms": 3}}
    return {
        "stations": {
            "gate": {
                "verdict": verdict,
                "sentence": f"{verdict}: its 400 rows of {ODD} are of no good part",
                "reasons": ["rows-of-no-good-part"],
                "categories": {ODD: numbers, "hook": {"rows": 0}},
            },
            "mill": {"verdict": "fits", "sentence": "fits: as usual", "categories": {}},
        },
        "unknown": None,
    }


def test_the_page_names_who_is_under_quarantine_and_shows_the_numbers(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", "federated_iid", spros={}, influence=influence())
    page = write_report([folder], tmp_path / "report.html")
    text = text_of(page)
    assert "gate of run r is under quarantine" in text
    assert "its 400 rows of cl [31mip <b> are of no good part" in text
    assert "What each station's rows do" in text
    for shown in ("0.200", "0.040", "0.125", "fits: as usual"):
        assert shown in text
    assert "<b> are" not in page.read_text()
    folder = write_run(tmp_path / "w", "federated_iid", spros={}, influence=influence("watch"))
    assert "is under quarantine" not in text_of(write_report([folder], tmp_path / "w.html"))


@pytest.mark.parametrize("told", [None, [], {}, {"stations": 3}, {"stations": {"gate": 7}}])
def test_runs_that_tell_nothing_of_it_have_their_page(tmp_path: Path, told: Any) -> None:
    folder = write_run(tmp_path / "r", "federated_iid", spros={}, influence=told)
    assert "What each station's rows do" not in text_of(write_report([folder], tmp_path / "x.html"))


def test_the_terminal_tells_whoever_does_not_simply_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "console", Screen(width=300))
    folder = write_run(tmp_path / "r", "federated_iid", spros={}, influence=influence())
    module.print_run(folder)
    told = capsys.readouterr().out
    assert "quarantine: gate: its 400 rows of cl\\x1b[31mip <b> are of no good part" in told
    assert "mill: as usual" not in told
    assert json.loads((folder / "run.json").read_text())["influence"]["unknown"] is None
