"""Exploration: tables counted by hand, pictures that are there, a summary on the console."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.analysis.exploration import (
    category_samples,
    class_counts,
    defect_examples,
    defect_types,
    explore_data,
    image_sizes,
    partition_preview,
)
from common.cli.main import run as run_command
from common.data.layout import DataIndex, index_data


@pytest.fixture
def small(tmp_path: Path) -> DataIndex:
    """A folder of one category, made by hand: 3 training images, 2 good and 3 defective ones."""
    sizes = {
        "train/good/0.png": (20, 10),
        "train/good/1.png": (20, 10),
        "train/good/2.png": (10, 20),
        "test/good/0.png": (20, 10),
        "test/good/1.png": (20, 10),
        "test/missing/0.png": (20, 10),
        "test/missing/1.png": (20, 10),
        "test/dent/0.png": (20, 10),
    }
    for number, (name, size) in enumerate(sizes.items()):
        path = tmp_path / "data" / "cog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(path)
    return index_data(tmp_path / "data")


def test_counts_by_hand(small: DataIndex) -> None:
    row = class_counts(small).loc["cog"]
    assert row.to_dict() == {
        "train_good": 3,
        "test_good": 2,
        "test_defective": 3,
        "total": 8,
    }
    sizes = image_sizes(small)["images"].to_dict()
    assert sizes == {("cog", 10, 20): 1, ("cog", 20, 10): 7}
    types = defect_types(small)
    assert types["images"].to_dict() == {("cog", "dent"): 1, ("cog", "missing"): 2}
    assert types["kind"].to_dict() == {("cog", "dent"): "unknown", ("cog", "missing"): "logical"}


def test_pictures_are_those_of_the_folder(small: DataIndex) -> None:
    images, titles = category_samples(small)
    assert titles == ["cog\n20 x 10 pixels"]
    assert np.array_equal(images[0], np.asarray(Image.open(small.samples[0].path)))
    images, titles = defect_examples(small, "cog")
    assert titles == ["good", "dent", "missing"]
    # The images are told apart by their red value: their number in the list above.
    assert [int(image[0, 0, 0]) for image in images] == [0, 7, 5]
    with pytest.raises(ValueError, match="no category 'wheel'"):
        defect_examples(small, "wheel")


def test_preview_is_the_partition_of_the_training_images(tiny_data: Path) -> None:
    index = index_data(tiny_data)
    stats, notices = partition_preview(index, "category")
    # A tenth of four images, rounded, is none.
    assert notices == ("quality-control drew no training image and was given one",)
    assert list(stats.index) == [
        "engine-assembly",
        "underbody-line",
        "fastener-station",
        "clip-inspection",
        "quality-control",
    ]
    assert stats["total"].sum() == len(index.select("train"))
    iid, _ = partition_preview(index, "iid", num_stations=3)
    assert iid["total"].max() - iid["total"].min() <= 1


def test_files_and_summary(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_command(["explore", str(tiny_data), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "SYNTHETIC" in shown
    assert "quality-control" in shown
    written = pd.read_csv(out / "statistics.csv", index_col="category")
    assert written["total"].sum() == len(index_data(tiny_data).samples)
    assert len(pd.read_csv(out / "partition_iid.csv")) == 5
    names = {path.stem for path in out.glob("*.png")}
    assert {"class_bars", "samples", "partition_iid", "partition_category"} <= names
    assert {f"defects_{name}" for name in written.index} <= names
    for path in out.glob("*.png"):
        assert Image.open(path).size[0] > 300


def test_what_cannot_be_shown_is_named(small: DataIndex, tmp_path: Path) -> None:
    found = explore_data(small, tmp_path / "out", num_stations=5)
    assert "partition_iid" not in found.tables
    assert any("3 training images" in notice for notice in found.notices)


def test_without_defects(small: DataIndex, tmp_path: Path) -> None:
    for name in ("missing", "dent"):
        shutil.rmtree(small.root / "cog" / "test" / name)
    out = tmp_path / "out"
    assert run_command(["explore", str(small.root), "--out", str(out), "--stations", "2"]) == 0
    assert pd.read_csv(out / "defect_types.csv").empty


def test_unusable_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explore", str(tmp_path / "no"), "--out", str(tmp_path / "o")]) == 2
    assert "no such data folder" in capsys.readouterr().err
