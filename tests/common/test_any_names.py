"""Folders of any names, through the commands: results are those of plain names in the same order.

In-process federation, tiny pictures, a random network: a minute in all.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from local_grid import run_local, small_settings
from named_folders import Named, named_folders
from safetensors.numpy import load_file

from common.cli.main import run
from common.data.names import normal
from common.patchcore.model_store import category_of

SETTINGS = [
    f"--set={pair}"
    for pair in (
        *("backbone=resnet18", "weights=random", "coreset-projection=16", "global-bank-size=100"),
        *("local-coreset-ratio=0.5", "num-stations=2", "num-workers=1", "device=cpu"),
    )
]
LONG = Named(
    ("e\u0301" * 85, "部品" * 42 + "x"),
    "[b] {x} " + "\u00df" * 120,
    ("x" * 246, os.fsdecode(b"cam-\xff\xfe"), "10", "2 [b]"),
    "-data [0] 😀",
    "~" + "o" * 254,
)
WORDS = Named(
    ("shared", "total"), "mean", ("model", "all", "overlays", "-1"), "local.partial", "good.1"
)
OTHER_WORDS = Named(
    ("mean", "test.json"), "total", ("results", "journal", "a.b", "a"), "model", "x.previous"
)


_expected: dict[Named, dict[str, Any]] = {}


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Features are kept by content: every folder here has the same pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPATCHCORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("common.runs.output.write_run_plots", lambda folder: [])
        patch.setattr("common.runs.output.write_report", lambda folders, out: out)
        yield


@given(named=named_folders())
@example(named=LONG)
@example(named=WORDS)
@example(named=OTHER_WORDS)
@settings(
    max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.usefixtures("flower_task")
def test_any_names_give_the_results_of_plain_ones(
    named: Named, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names of the real world: internal words, wire rules, surrogates, long names, brackets."""
    twin, called = named.twin()
    plain = dict(zip(twin.categories, twin.categories, strict=True))
    with tempfile.TemporaryDirectory() as home:
        found = _results(named, Path(home), called, capfd)
    if twin not in _expected:
        with tempfile.TemporaryDirectory() as home:
            _expected[twin] = _results(twin, Path(home), plain, capfd)
    for said, value in _expected[twin].items():
        assert found[said] == value, said


def _results(
    named: Named, home: Path, called: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """Everything that the commands say, with the plain names of the categories."""
    data = named.lay_out(home)
    folders = [home / kind / named.out for kind in ("baseline", "federated", "judged")]
    fitted, federated, judged = folders

    def does(*words: str | Path) -> str:
        capfd.readouterr()
        code = run([str(word) for word in words])
        said, errors = capfd.readouterr()
        assert code == 0, errors
        assert errors == ""
        return said

    # Notes and warnings may be about the names themselves: two pictures called alike.
    capfd.readouterr()
    run(["check", str(data), "--json"])
    checked = json.loads(capfd.readouterr().out)
    assert not [one for one in checked["findings"] if one["severity"] == "error"]
    does("baseline", data, "--out", fitted, *SETTINGS)
    run_local(small_settings(data, federated, num_stations=2, bank_scope="category"))
    category = next(iter(called))
    place = data / category if (data / category).is_dir() else _spelt(data, category)
    does("inspect", fitted, place / "test", f"--category={category}", "--out", judged)
    page = home / "page"
    does("report", fitted, federated, "--out", page)
    assert (page / "report.html").read_text(encoding="utf-8")
    entries = json.loads((judged / "results.json").read_text(encoding="utf-8"))
    with (judged / "results.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [one["path"] for one in entries]
    assert all((judged / one["overlay"]).is_file() for one in entries)
    return {
        "check": [checked[key] for key in ("images", "masks")],
        "checked": [called[name] for name in checked["categories"]],
        "baseline": _run(fitted, called),
        "federated": _run(federated, called),
        "inspect": {Path(one["path"]).parent.name == "good": one["score"] for one in entries},
    }


def _spelt(data: Path, category: str) -> Path:
    """The folder whose name is this one in another Unicode spelling."""
    return next(folder for folder in data.iterdir() if normal(folder.name) == category)


def _run(folder: Path, called: dict[str, str]) -> dict[str, Any]:
    """Banks, thresholds and figures of a run."""
    model = json.loads((folder / "model/model.json").read_text(encoding="utf-8"))
    banks = load_file(folder / "model/bank.safetensors")
    files = (folder / "evaluation/metrics").glob("*/*/metrics.json")
    metrics = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return {
        "banks": {called[category_of(name) or ""]: rows.tobytes() for name, rows in banks.items()},
        "thresholds": {
            called[name]: facts["value"] for name, facts in model["thresholds"].items()
        },
        "metrics": {
            called[one["category"]]: [
                one["localization"]["auc_spro"], one["localization"]["pixel_auc_roc"],
                one["classification"]["auc_roc"],
            ]
            for one in metrics
        },
    }  # fmt: skip
