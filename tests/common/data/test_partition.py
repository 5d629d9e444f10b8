"""Partitions: each image at exactly one station, by seed, and AutoVI's own plant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.layout import Sample
from common.data.partition import (
    PARTITIONS,
    CategoryPartitioner,
    DirichletPartitioner,
    IIDPartitioner,
    Partition,
    compute_partition_stats,
    make_partition,
)
from common.errors import InputError

# Training, good test and defective test images of AutoVI 1.0.0, as counted on the disk.
AUTOVI = {
    "engine_wiring": (285, 285, 322),
    "pipe_clip": (195, 195, 142),
    "pipe_staple": (191, 188, 117),
    "tank_screw": (318, 318, 95),
    "underbody_pipes": (161, 161, 184),
    "underbody_screw": (373, 374, 18),
}


@dataclass
class Listed:
    samples: list[Sample]


def make(counts: dict[str, tuple[int, int, int]]) -> list[Sample]:
    samples = []
    for category, (train, good, defective) in counts.items():
        for split, kind, count in (
            ("train", "good", train),
            ("test", "good", good),
            ("test", "defect", defective),
        ):
            samples += [
                Sample(
                    Path(f"/d/{category}/{split}/{kind}/{n}.png"),
                    category,
                    split,  # type: ignore[arg-type]
                    int(kind == "defect"),
                    kind,
                )
                for n in range(count)
            ]
    return samples


def held(partition: Partition, samples: list[Sample]) -> list[Counter[tuple[str, str]]]:
    return [
        Counter((samples[i].category, samples[i].split) for i in own)
        for _, own in sorted(partition.indices.items())
    ]


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(sorted(PARTITIONS)),
    counts=st.dictionaries(
        st.sampled_from([*AUTOVI, "bottle", "cable"]),
        st.tuples(st.integers(0, 12), st.integers(0, 8), st.integers(0, 8)),
        min_size=1,
    ),
    stations=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    alpha=st.sampled_from([1e-6, 0.01, 0.5, 10.0, 1e6]),
)
def test_each_image_is_at_exactly_one_station(
    name: str, counts: dict[str, tuple[int, int, int]], stations: int, seed: int, alpha: float
) -> None:
    samples = make(counts)
    train = sum(sample.split == "train" for sample in samples)
    if train < stations:
        with pytest.raises(InputError, match="training image"):
            make_partition(samples, name, stations, seed, alpha)
        return
    partition = make_partition(samples, name, stations, seed, alpha)
    assert sorted(partition.indices) == list(range(stations))
    assert sorted(i for own in partition.indices.values() for i in own) == list(range(len(samples)))
    for own in partition.indices.values():
        assert own == sorted(own)
        assert all(type(i) is int for i in own)
        assert any(samples[i].split == "train" for i in own)
    assert len(partition.names) == len(set(partition.names)) == stations
    again = make_partition(samples, name, stations, seed, alpha)
    assert again == partition


@pytest.mark.parametrize("name", sorted(PARTITIONS))
def test_another_seed_deals_otherwise(name: str) -> None:
    samples = make(AUTOVI)
    one, two = (make_partition(samples, name, 5, seed) for seed in (1, 2))
    assert one.indices != two.indices
    assert one.names == two.names


def test_the_plant_of_autovi() -> None:
    samples = make(AUTOVI)
    partition = make_partition(samples, "category", 5, 42)
    assert partition.notices == ()
    assert partition.names == (
        "engine-assembly",
        "underbody-line",
        "fastener-station",
        "clip-inspection",
        "quality-control",
    )
    stations = held(partition, samples)
    wanted = [
        {"engine_wiring"},
        {"underbody_pipes", "underbody_screw"},
        {"tank_screw", "pipe_staple"},
        {"pipe_clip"},
        set(AUTOVI),
    ]
    assert [{category for category, _ in own} for own in stations] == wanted
    for category, (train, good, defective) in AUTOVI.items():
        # Quality control: 10 % of every category and split, rounded half up; the line the rest.
        for split, count in (("train", train), ("test", good + defective)):
            taken = int(count / 10 + 0.5)
            assert stations[4][category, split] == taken
            line = next(own for own in stations[:4] if own[category, split])
            assert line[category, split] == count - taken


def test_quality_control_does_not_depend_on_the_other_stations() -> None:
    samples = make(AUTOVI)
    taken = {
        stations: make_partition(samples, "category", stations, 42).indices[stations - 1]
        for stations in (2, 5, 8)
    }
    assert taken[2] == taken[5] == taken[8]


def test_quality_control_draws_from_the_whole_folder_not_its_beginning() -> None:
    samples = make(AUTOVI)
    own = make_partition(samples, "category", 5, 42).indices[4]
    engine = [
        int(samples[i].path.stem) for i in own if "engine_wiring/train" in str(samples[i].path)
    ]
    assert max(engine) > 200
    assert min(engine) < 100


@pytest.mark.parametrize("stations", [2, 3, 4, 6, 7, 9])
def test_other_numbers_of_stations_share_the_categories_and_say_so(stations: int) -> None:
    samples = make(AUTOVI)
    partition = make_partition(samples, "category", stations, 42)
    assert partition.names == tuple(f"station-{n}" for n in range(stations))
    (notice,) = partition.notices
    assert notice.startswith(f"category partition over {stations} stations: station-0: ")
    assert notice.endswith(f"station-{stations - 1}: quality control")
    lines = held(partition, samples)[:-1]
    loads = [sum(n for (_, split), n in own.items() if split == "train") for own in lines]
    assert min(loads) > 0.4 * max(loads)
    for category in AUTOVI:
        homes = [own for own in lines if own[category, "train"]]
        # More lines than categories: the largest are shared, train and test alike.
        assert len(homes) <= max(1, stations - 1 - len(AUTOVI) + 1)
        assert all(own[category, "test"] for own in homes)


def test_one_other_category_is_shared_evenly_by_all_lines() -> None:
    samples = make({"bottle": (80, 20, 60)})
    partition = make_partition(samples, "category", 5, 42)
    assert held(partition, samples) == [
        Counter({("bottle", "train"): 18, ("bottle", "test"): 18})
    ] * 4 + [Counter({("bottle", "train"): 8, ("bottle", "test"): 8})]
    assert "quality control" in partition.notices[0]


def test_categories_of_other_names_are_dealt_by_size() -> None:
    samples = make({"a": (100, 0, 0), "b": (60, 0, 0), "c": (50, 0, 0)})
    partition = make_partition(samples, "category", 3, 0)
    # Largest first to whom has least: a alone, then b and c together.
    assert [set(own) for own in held(partition, samples)[:2]] == [
        {("a", "train")},
        {("b", "train"), ("c", "train")},
    ]


def test_one_station_holds_everything() -> None:
    samples = make(AUTOVI)
    for name in PARTITIONS:
        assert make_partition(samples, name, 1, 0).indices == {0: list(range(len(samples)))}


def test_iid_deals_equal_portions_of_train_and_test() -> None:
    samples = make(AUTOVI)
    partition = make_partition(samples, "iid", 5, 42)
    for split, total in (("train", 1523), ("test", 2399)):
        sizes = [
            sum(n for (_, s), n in own.items() if s == split) for own in held(partition, samples)
        ]
        assert sum(sizes) == total
        assert max(sizes) - min(sizes) <= 1
    shares = [own["tank_screw", "train"] for own in held(partition, samples)]
    assert max(shares) < 2 * min(shares)


def test_dirichlet_alpha_decides_how_even_the_shares_are() -> None:
    samples = make(AUTOVI)

    def spread(alpha: float) -> float:
        stations = held(make_partition(samples, "dirichlet", 5, 42, alpha), samples)
        return float(np.mean([np.std([own[c, "train"] for own in stations]) for c in AUTOVI]))

    assert spread(1e6) < 1.0
    assert spread(0.1) > 50
    # Train and test follow the same shares: what a station learns is what it judges.
    for own in held(make_partition(samples, "dirichlet", 5, 42, 0.5), samples):
        for category, (train, good, defective) in AUTOVI.items():
            share = own[category, "train"] / train
            assert own[category, "test"] / (good + defective) == pytest.approx(share, abs=0.02)


def test_a_station_that_drew_nothing_is_given_an_image_and_it_is_said() -> None:
    samples = make({"a": (6, 3, 3)})
    partition = make_partition(samples, "dirichlet", 5, 0, 1e-6)
    given = [notice for notice in partition.notices if "was given one" in notice]
    assert len(given) == 4
    assert sorted(own["a", "train"] for own in held(partition, samples)) == [1, 1, 1, 1, 2]
    few = make(dict.fromkeys(AUTOVI, (4, 1, 1)))
    assert make_partition(few, "category", 5, 0).notices == (
        "quality-control drew no training image and was given one",
    )


def test_partitioners_take_any_data_set_with_samples() -> None:
    data = Listed(make({"a": (10, 4, 4)}))
    for partitioner in (
        IIDPartitioner(2, seed=3),
        CategoryPartitioner(2, seed=3),
        DirichletPartitioner(2, seed=3, alpha=1.0),
    ):
        assert partitioner.partition(data) == partitioner.describe(data.samples).indices
        test_only = Listed([sample for sample in data.samples if sample.split == "test"])
        parts = partitioner.partition(test_only)
        assert sorted(i for own in parts.values() for i in own) == list(range(8))
        assert all(parts.values())
        with pytest.raises(InputError, match="1 training images cannot be dealt out to 2 stations"):
            partitioner.partition(Listed(data.samples[:1]))


def test_a_folder_without_training_images_cannot_be_partitioned_for_a_run() -> None:
    with pytest.raises(InputError, match="no training image"):
        make_partition(make({"a": (0, 4, 4)}), "iid", 1, 0)


def test_statistics_add_up() -> None:
    samples = make(AUTOVI)
    partition = make_partition(samples, "category", 5, 42)
    data = Listed(samples)
    table = compute_partition_stats(partition.indices, data, names=partition.names)
    assert list(table.index) == list(partition.names)
    assert list(table.columns) == [*sorted(AUTOVI), "total"]
    assert all(str(dtype) == "int64" for dtype in table.dtypes)
    assert table["total"].sum() == len(samples) == 1523 + 2399
    assert (table[sorted(AUTOVI)].sum(axis=1) == table["total"]).all()
    for category, counts in AUTOVI.items():
        assert table[category].sum() == sum(counts)
    train = compute_partition_stats(partition.indices, data, "train")
    assert list(train.index) == [f"station-{n}" for n in range(5)]
    assert train.loc["station-0"].to_dict() == {
        **dict.fromkeys(AUTOVI, 0),
        "engine_wiring": 256,  # 285 - int(28.5 + 0.5)
        "total": 256,
    }
