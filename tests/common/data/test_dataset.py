"""`AutoVIDataset` and its statistics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_folders import autovi, mvtec
from PIL import Image

from common.data import CATEGORIES, AutoVIDataset
from common.data.demo_data import DEMO_IMAGES, demo_data
from common.data.partition import AUTOVI_STATIONS
from common.errors import InputError


def test_items_say_what_they_are(tmp_path: Path) -> None:
    home = autovi(tmp_path)
    dataset = AutoVIDataset(tmp_path)
    assert len(dataset) == 8
    item = dataset[7]
    assert (item["image"].mode, item["image"].size) == ("RGB", (16, 24))
    del item["image"]
    assert item == {
        "label": 1,
        "category": "part",
        "defect_type": "hole",
        "split": "test",
        "path": str(home / "test/hole/10.png"),
    }
    assert dataset[0]["label"] == 0
    assert [item["label"] for item in dataset] == [0] * 5 + [1] * 3


def test_splits_categories_and_transform(tmp_path: Path) -> None:
    autovi(tmp_path, "a")
    mvtec(tmp_path, "b")

    def width_height(image: Image.Image) -> Any:
        return image.size

    dataset = AutoVIDataset(str(tmp_path), ["b"], "test", transform=width_height)
    assert [item["defect_type"] for item in dataset] == ["good", "crack", "crack"]
    assert dataset[0]["image"] == (16, 24)
    assert len(AutoVIDataset(tmp_path, split="train")) == 5
    with pytest.raises(InputError, match="no category 'c'; found: a, b"):
        AutoVIDataset(tmp_path, ["c"])


def test_statistics_are_counts_from_the_disk(tmp_path: Path) -> None:
    autovi(tmp_path, "a")
    mvtec(tmp_path, "b")
    assert AutoVIDataset(tmp_path).get_statistics() == {
        "total": 13,
        "by_split": {"test": 8, "train": 5},
        "by_label": {"defective": 5, "good": 8},
        "by_category": {"a": 8, "b": 5},
        "categories": {
            "a": {
                "train": 3,
                "test": 5,
                "good": 5,
                "defective": 3,
                "defect_types": {"dent": 2, "good": 2, "hole": 1},
            },
            "b": {
                "train": 2,
                "test": 3,
                "good": 3,
                "defective": 2,
                "defect_types": {"crack": 2, "good": 1},
            },
        },
    }
    train = AutoVIDataset(tmp_path, split="train").get_statistics()
    assert (train["total"], train["by_label"]) == (5, {"good": 5})
    assert train["categories"]["a"]["defect_types"] == {}


def test_regions(tmp_path: Path) -> None:
    autovi(tmp_path)
    dataset = AutoVIDataset(tmp_path)
    assert dataset.regions(0) == []
    found = dataset.regions(7)
    assert found is not None
    assert [region.defect_type for region in found] == ["hole", "dent"]


def test_an_unreadable_image_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    home = autovi(tmp_path)
    (home / "train/good/1.png").write_bytes(b"")
    dataset = AutoVIDataset(tmp_path)
    assert dataset[0]["label"] == 0
    with pytest.raises(InputError, match=r"1\.png: found an empty file"):
        dataset[1]


def test_the_six_parts_are_those_of_the_plant(tiny_data: Path) -> None:
    assert sorted(c for _, own in AUTOVI_STATIONS for c in own) == sorted(CATEGORIES)
    assert list(AutoVIDataset(tiny_data).index.categories) == list(CATEGORIES)


def test_demo_data_are_made_once_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.data.demo_data.DEMO_IMAGES", 1)
    monkeypatch.setattr("common.data.demo_data.DEMO_SIZE", 32)
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    root = demo_data()
    assert root.parent == tmp_path / "cache"
    assert json.loads((root / "synthetic.json").read_text())["images"] == 1
    marker = root / "synthetic.json"
    written = marker.stat().st_mtime_ns
    assert demo_data() == root
    assert marker.stat().st_mtime_ns == written
    assert DEMO_IMAGES > 1


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="FEDPATCHCORE_CACHE"):
        demo_data()
