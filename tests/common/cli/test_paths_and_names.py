"""Paths and names as people type and give them, at the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from data_folders import mvtec
from PIL import Image

import common.cli
from common.analysis import plot_class_bars
from common.analysis.plots.letters import drawable
from common.analysis.plots.style import to_png
from common.analysis.tables import results_table, with_mean_row
from common.cli.console import Screen, styled
from common.cli.main import run
from common.data.layout import index_data
from common.data.partition import compute_partition_stats, make_partition
from common.errors import InputError
from common.inspection.results import write_results
from common.runs.experiment_plan import read_plan
from common.runs.flower_run import Flwr

SMALL = [
    f"--set={pair}"
    for pair in ("backbone=resnet18", "weights=random", "num-stations=1", "num-workers=1")
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    home = mvtec(tmp_path / "data", "nut [m8]")
    for path in home.rglob("*.png"):
        Image.open(path).resize((40, 32), Image.Resampling.NEAREST).save(path)
    return tmp_path / "data"


@pytest.mark.usefixtures("plain_files")
@pytest.mark.parametrize("out", ["~/x", ".", "../empty", "new"])
def test_an_out_folder_of_any_form_holds_the_whole_run(
    out: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths expanded in some layers only; and brackets in names taken for markup."""
    home = data.parent / "home"
    (home / "empty").mkdir(parents=True)
    monkeypatch.chdir(home / "empty")
    monkeypatch.setenv("HOME", str(home))
    assert run(["baseline", str(data), f"--out={out}", *SMALL]) == 0, capsys.readouterr().err
    place = {"~/x": home / "x", ".": home / "empty", "../empty": home / "empty"}.get(
        out, home / "empty" / out
    )
    assert (place / "model/model.json").is_file()
    assert {path.name for path in home.iterdir()} <= {"x", "empty"}
    told = json.loads((place / "run.json").read_text())
    assert told["settings"]["output-dir"] == str(place)
    assert "nut [m8]" in capsys.readouterr().out


def test_a_folder_with_other_files_is_not_moved_aside(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paths expanded in some layers only: `--out .` in the folder of one's own work."""
    monkeypatch.chdir(data.parent)
    assert run(["baseline", str(data), "--out", ".", *SMALL]) == 2
    assert "no run wrote" in capsys.readouterr().err
    assert data.is_dir()


def test_the_printer_takes_nothing_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich markup."""
    screen = Screen(width=200)
    screen.print(styled("Note:", "bold"), "[ccc5847fbe5c] :nut: nut [m8] [/]", os.fsdecode(b"\xff"))
    screen.print("\x1b[2J")
    out = capsys.readouterr().out
    assert "Note: [ccc5847fbe5c] :nut: nut [m8] [/] \\xff" in out
    assert "\x1b[2J" not in out


def test_no_command_writes_markup() -> None:
    """Rich markup: escaped once, at the printer, where it would be shown as it stands."""
    for path in Path(common.cli.__file__).parent.glob("*.py"):
        assert not re.search(r"\[/\]|\[bold|\[dim|\[green", path.read_text()), path


def test_a_name_that_is_no_text_leaves_the_results_of_all(tmp_path: Path) -> None:
    """Surrogates written strictly."""
    entries = [
        {
            "path": os.fsdecode(raw), "category": None, "score": 1.0, "threshold": None,
            "anomalous": None, "regions": [], "overlay": None,
        }
        for raw in (b"/c/\xff.png", b"/c/a.png")
    ]  # fmt: skip
    write_results(entries, tmp_path)
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == [r"/c/\xff.png", "/c/a.png"]
    assert [one["path"] for one in json.loads((tmp_path / "results.json").read_text())] == paths


@pytest.mark.parametrize("path", ["/d/😀 ''\"\\", "/d/\u007f\x01\t", "/d/é"])
def test_what_flower_reads_is_toml(path: str, tmp_path: Path) -> None:
    """JSON written as TOML."""
    flwr = Flwr(tmp_path, {}, "private")
    flwr.write_connection("127.0.0.1:8000", Path(path))
    written = tomllib.loads((tmp_path / "config.toml").read_text(encoding="utf-8"))
    known = {"address": "127.0.0.1:8000", "root-certificates": path}
    assert written == {"superlink": {"default": "private", "private": known}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("# nothing yet\n", "is empty"),
        ("{}", "is empty"),
        ("seeds: [1]\nmethods: [local]\nseeds: [2]\n", "'seeds' stands here twice"),
        ("settings: {layers: layer1, layers: layer2}\n", "'layers' stands here twice"),
    ],
)
def test_an_experiment_that_says_nothing_or_twice_is_refused(
    text: str, says: str, tmp_path: Path
) -> None:
    """Experiment files: an empty one starts runs, a repeated key wins silently."""
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        read_plan(tmp_path / "e.yaml")


def test_sums_in_tables_keep_clear_of_names(tmp_path: Path) -> None:
    """Internal names that are also legal names: rows and columns of tables."""
    for name in ("total", "mean"):
        mvtec(tmp_path, name)
    index = index_data(tmp_path)
    made = make_partition(index.samples, "iid", 2, 0)
    stats = compute_partition_stats(made.indices, index)
    assert list(stats.columns) == ["mean", "total", "total (of all)"]
    assert (stats["mean"] + stats["total"] == stats["total (of all)"]).all()
    metrics = {"classification": {"auc_roc": 0.5}}
    table = results_table({"local": {"mean": metrics}}, ("classification", "auc_roc"))
    assert list(with_mean_row(table).index) == ["mean", "mean (of all)"]


def test_letters_without_a_font_are_told_by_their_numbers() -> None:
    """Plots show boxes for names in other scripts."""
    import pandas as pd

    def drawn(name: str) -> bytes:
        counts = {"train_good": [3], "test_good": [1], "test_defective": [1], "total": [5]}
        return to_png(plot_class_bars(pd.DataFrame(counts, index=[name])))

    tangut = "\U00017000"  # in no common font
    assert drawable(f"é {tangut}") == r"é \U00017000"
    assert drawn(tangut) == drawn(r"\U00017000")
    with Image.open(io.BytesIO(drawn("é"))) as picture:
        assert picture.size[0] > 100
