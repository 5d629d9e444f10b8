"""A partition on disk is the partition of the simulation, image for image."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from data_folders import autovi, mvtec

from common.data.defects import load_regions
from common.data.holdout import split_holdout
from common.data.images import read_size
from common.data.layout import DataIndex, Sample, index_data
from common.data.partition import PARTITIONS, Partition, make_partition
from common.data.split import lay_out
from common.errors import InputError


def fingerprint(index: DataIndex, sample: Sample) -> tuple[object, ...]:
    """Everything that counts about a sample, wherever it lies."""
    regions = load_regions(sample, index.categories[sample.category], read_size(sample.path))
    masks = None
    if regions is not None:
        masks = [(r.defect_type, r.saturation_area, r.mask.tobytes()) for r in regions]
    return (
        sample.category,
        sample.split,
        sample.defect_type,
        sample.path.name,
        hashlib.sha256(sample.path.read_bytes()).hexdigest(),
        masks,
    )


def check(index: DataIndex, partition: Partition, out: Path, fraction: float = 0.3) -> None:
    folders = lay_out(index, partition, out)
    assert list(folders) == list(partition.names)
    assert sorted(p.name for p in out.iterdir()) == sorted(partition.names)
    for number, name in enumerate(partition.names):
        own = [index.samples[i] for i in partition.indices[number]]
        station = index_data(folders[name])
        assert station.synthetic == index.synthetic
        assert [fingerprint(station, s) for s in station.samples] == [
            fingerprint(index, s) for s in own
        ]
        train = [s for s in own if s.split == "train"]
        wanted = [fingerprint(index, s) for s in split_holdout(train, fraction)[1]]
        found = [
            fingerprint(station, s) for s in split_holdout(station.select("train"), fraction)[1]
        ]
        assert found == wanted
        files = [p for p in folders[name].rglob("*") if p.is_file()]
        assert not any(p.is_symlink() for p in folders[name].rglob("*"))
        extra = {"defects_config.json", "synthetic.json"}
        masks = sum(len(s.masks or ()) for s in own)
        assert sum(p.name not in extra for p in files) == len(own) + masks
    assert not out.with_name(out.name + ".partial").exists()


@pytest.mark.parametrize("name", sorted(PARTITIONS))
def test_stations_hold_exactly_the_partition(tiny_data: Path, tmp_path: Path, name: str) -> None:
    index = index_data(tiny_data)
    check(index, make_partition(index.samples, name, 5, 42), tmp_path / "plant")


def test_nested_linked_and_mvtec_categories(tmp_path: Path) -> None:
    data = tmp_path / "data"
    autovi(data, "nested", nested=True)
    mvtec(data, "crystal")
    shutil.rmtree(mvtec(data, "unmasked") / "ground_truth")
    autovi(tmp_path / "elsewhere", "x")
    (data / "linked").symlink_to(tmp_path / "elsewhere/x")
    index = index_data(data)
    assert len(index.categories) == 4
    check(index, make_partition(index.samples, "iid", 2, 1), tmp_path / "plant")
    stations = index_data(tmp_path / "plant/station-0").categories
    assert stations["unmasked"].layout == "no_masks"
    assert stations["nested"].folder == tmp_path / "plant/station-0/nested"


def test_files_are_hard_links_or_else_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    autovi(tmp_path / "data")
    index = index_data(tmp_path / "data")
    partition = make_partition(index.samples, "iid", 1, 0)
    (linked,) = lay_out(index, partition, tmp_path / "linked").values()
    assert (linked / "part/train/good/0.png").samefile(index.samples[0].path)

    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    (copied,) = lay_out(index, partition, tmp_path / "copied").values()
    copy = copied / "part/train/good/0.png"
    assert not copy.samefile(index.samples[0].path)
    assert copy.read_bytes() == index.samples[0].path.read_bytes()


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    autovi(tmp_path / "data")
    index = index_data(tmp_path / "data")
    partition = make_partition(index.samples, "iid", 1, 0)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("x")
    for out, said in {
        full: "is not empty",
        tmp_path / "data/plant": "lies inside the data folder",
        tmp_path / "data": "lies inside the data folder",
        full / "mine.txt": "is not empty",
    }.items():
        with pytest.raises(InputError, match=said) as caught:
            lay_out(index, partition, out)
        assert str(caught.value).startswith(f"{out}: ")
    with pytest.raises(NotADirectoryError):
        lay_out(index, partition, full / "mine.txt/plant")
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    assert len(index_data(tmp_path / "data").samples) == 8


def test_the_current_folder_if_it_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    autovi(tmp_path / "data")
    index = index_data(tmp_path / "data")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    partition = make_partition(index.samples, "iid", 1, 0)
    (station,) = lay_out(index, partition, Path(".")).values()
    assert station == tmp_path / "here/station-0"
    assert len(index_data(station).samples) == 8


def test_a_failure_leaves_nothing_half_done(tmp_path: Path) -> None:
    autovi(tmp_path / "data")
    index = index_data(tmp_path / "data")
    index.samples[-1].path.unlink()
    with pytest.raises(FileNotFoundError):
        lay_out(index, make_partition(index.samples, "iid", 1, 0), tmp_path / "plant")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]
