"""Who a station is: its own node config decides, and what the run may not decide is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from client_app.station import open_station
from client_app.surveyed import survey
from common.config import Settings
from common.data.layout import index_data
from common.data.partition import make_partition
from common.data.split import lay_out
from common.errors import InputError, MissingWeightsError
from common.patchcore.network.weights import expected_shapes, random_state


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run_config(**changes: Any) -> dict[str, Any]:
    return Settings(**{"backbone": "resnet18", "weights": "random", **changes}).to_run_config()


def node(data: Path, **changes: Any) -> dict[str, Any]:
    return {"station": "press-line", "data-root": str(data), **changes}


@pytest.mark.parametrize("given", [{}, {"data-root": ""}])
def test_a_real_station_without_a_data_root_is_an_error_not_the_synthetic_set(
    given: dict[str, str],
) -> None:
    with pytest.raises(InputError, match="press-line: the node config has no data-root"):
        open_station({"station": "press-line", **given}, run_config())


def test_a_node_that_says_nothing_is_told_what_to_say() -> None:
    with pytest.raises(InputError, match="`fedpatchcore plant station`, which gives") as error:
        open_station({}, run_config())
    assert "partition-id" in str(error.value)


@pytest.mark.parametrize("name", ["", "../other", "a/b", "two words", "x" * 65, "-x"])
def test_a_name_that_could_be_a_path_is_refused_before_any_folder_is_made(
    name: str, tiny_data: Path, own_cache: Path
) -> None:
    with pytest.raises(InputError, match="is no usable name"):
        open_station(node(tiny_data, station=name), run_config())
    assert not own_cache.exists()


def test_the_runs_data_root_and_weights_path_are_ignored_with_a_notice(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_config(data_root="/somewhere/else", weights="/somewhere/weights.pth")
    mine = node(tiny_data, weights=str(weight_file(tmp_path)))
    station = open_station(mine, run)
    assert station.settings.data_root == str(tiny_data)
    assert station.settings.weights == str(tmp_path / "own.pth")
    assert station.notices == (
        "the run's data-root is ignored: a station's own node config decides",
    )
    # Without weights of its own the run's path still is not followed, nor do others take its place.
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(MissingWeightsError, match=r"put torchvision's file resnet18-f37072fd\.pth"):
        open_station(node(tiny_data), run)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "own.pth").rename(tmp_path / "hub/checkpoints/resnet18-f37072fd.pth")
    station = open_station(node(tiny_data), run)
    assert "the run's weights path is ignored: nothing names a file on a station" in station.notices
    assert station.settings.weights == "imagenet"


def test_a_real_station_takes_no_other_network_than_the_plants(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    undecided = Settings(device="cpu").to_run_config()
    with pytest.raises(MissingWeightsError, match="wide_resnet50_2"):
        open_station(node(tiny_data), undecided)
    simulated = open_station(
        {"partition-id": 0, "num-partitions": 1}, {**undecided, "data-root": str(tiny_data)}
    )
    assert simulated.settings.backbone == "efficientnet_lite0"
    assert any("takes its place" in notice for notice in simulated.notices)


def test_weights_that_the_run_names_without_a_path_are_taken(tiny_data: Path) -> None:
    station = open_station(node(tiny_data), run_config(weights="random"))
    assert station.settings.weights == "random"
    assert station.notices == ()


def test_node_config_decides_device_batch_size_and_cache(tiny_data: Path, tmp_path: Path) -> None:
    mine = node(
        tiny_data,
        **{"device": "cpu", "batch-size": 4, "cache-dir": str(tmp_path / "c"), "cache-limit-gb": 2},
    )
    station = open_station(mine, run_config(device="auto", batch_size=32))
    assert (station.settings.device, station.settings.batch_size) == ("cpu", 4)
    assert station.cache == tmp_path / "c"
    assert station.cache.stat().st_mode & 0o777 == 0o700
    assert station.cache_limit == 2 * 2**30


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("batch-size", "many", "setting batch-size"),
        ("device", "abacus", "setting device"),
        ("cache-limit-gb", "lots", "cache-limit-gb is 'lots'; expected a number"),
        ("cache-limit-gb", -1, "cache-limit-gb is -1"),
        ("cache-dir", "/proc/nowhere", "cache-dir /proc/nowhere cannot be made"),
        ("data-root", "/no/such/folder", "no such data folder"),
    ],
)
def test_an_unusable_node_config_is_one_clear_error(
    key: str, value: Any, says: str, tiny_data: Path
) -> None:
    with pytest.raises(InputError, match=says):
        open_station(node(tiny_data, **{key: value}), run_config())


def test_a_misspelt_node_key_is_named(tiny_data: Path) -> None:
    station = open_station(node(tiny_data, weight="/w.pth"), run_config())
    assert station.notices == (
        "node config: 'weight' is not a key that a station knows; it is ignored",
    )


def test_an_unknown_run_key_is_refused(tiny_data: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'seed'"):
        open_station(node(tiny_data), {**run_config(), "sead": 3})


def test_simulated_stations_share_out_all_images_and_hold_out_their_own(tiny_data: Path) -> None:
    config = run_config(data_root=str(tiny_data), partition="iid")
    stations = [
        open_station({"partition-id": number, "num-partitions": 3}, config) for number in range(3)
    ]
    parts = [[*s.bank_samples, *s.held_out, *s.test] for s in stations]
    paths = [sample.path for part in parts for sample in part]
    assert sorted(paths) == sorted(sample.path for sample in index_data(tiny_data).samples)
    assert [s.name for s in stations] == ["station-0", "station-1", "station-2"]
    assert not any(s.real for s in stations)
    assert all(s.held_out for s in stations)


def test_a_station_laid_out_on_disk_holds_what_the_simulated_one_holds(
    tiny_data: Path, tmp_path: Path
) -> None:
    index = index_data(tiny_data)
    partition = make_partition(index.samples, "category", 5, seed=42)
    folders = lay_out(index, partition, tmp_path / "stations")
    config = run_config(data_root=str(tiny_data), partition="category")
    for number, (name, folder) in enumerate(folders.items()):
        real = open_station({"station": name, "data-root": str(folder)}, config)
        simulated = open_station({"partition-id": number, "num-partitions": 5}, config)
        assert real.name == simulated.name
        for kind in ("bank_samples", "held_out", "test"):
            found = [s.path.relative_to(folder) for s in getattr(real, kind)]
            expected = [s.path.relative_to(tiny_data) for s in getattr(simulated, kind)]
            assert found == expected, (name, kind)


def test_real_stations_do_not_tell_the_name_of_their_weight_file(
    tiny_data: Path, tmp_path: Path
) -> None:
    path = weight_file(tmp_path)
    real = survey(open_station(node(tiny_data, weights=str(path)), run_config()))
    assert real.feature_space.weights == "local file"
    assert "own.pth" not in real.model_dump_json()
    assert str(tmp_path) not in real.model_dump_json()
    simulated = open_station(
        {"partition-id": 0, "num-partitions": 1},
        run_config(data_root=str(tiny_data), weights=str(path)),
    )
    told = survey(simulated).feature_space
    assert told.weights == "own.pth"
    assert told.fingerprint == real.feature_space.fingerprint


def weight_file(folder: Path) -> Path:
    path = folder / "own.pth"
    torch.save(random_state(expected_shapes("resnet18", ("layer2", "layer3")), 5), path)
    return path
