"""Preflight of a station's images, weights, disk and memory, and the whole of it by command."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
from flwr.common.config import parse_config_args
from gateway_cases import Upstream, gateway_in_thread, serving, upstream_config
from played_device import lie, play

from client_app.station import open_station
from client_app.surveyed import survey
from common.check import CheckOptions
from common.cli.main import run
from common.config import Settings
from common.patchcore.network.architectures import find_backbone
from common.patchcore.network.weights import expected_shapes, random_state
from common.plant.keys.making import Wanted, make_keys
from common.plant.preflight.data import Load, check_data, check_weights
from common.plant.preflight.findings import Preflight, gigabytes
from common.plant.preflight.machine import (
    BYTES_PER_PIXEL,
    PROCESS_BYTES,
    available_memory,
    check_cache,
    check_disk,
    check_memory,
    needed_disk,
    needed_memory,
)
from common.plant.preflight.station_check import check_station
from common.plant.station.station_file import StationFile, read_station_file

SMALL = Settings(backbone="resnet18")
GIB = 2**30


def station(folder: Path, data: Path, more: str = "", address: str = "localhost:1") -> StationFile:
    (folder / "station.toml").write_text(
        f'station = "clips"\ndata-root = "{data}"\ncache-dir = "cache"\n{more}\n'
        f'[server]\naddress = "{address}"\nca = "ca.crt"\nkey = "station.key"\n'
        'certificate = "station.pem"\napp-key = "app.pub"\n'
    )
    return read_station_file(folder)


def empty(folder: Path) -> Preflight:
    return Preflight(folder / "station.toml", "clips")


def kinds(report: Preflight) -> list[str]:
    return [finding.kind for finding in report.findings]


# Images


def test_sound_images(tmp_path: Path, tiny_data: Path) -> None:
    report = empty(tmp_path)
    options = CheckOptions(SMALL.with_(target_false_alarm_rate=0.5))
    holding = check_data(station(tmp_path, tiny_data), SMALL, options, report)
    assert holding is not None
    # One of four is held out, which promises 1 / 2.
    assert report.findings == []
    tested = len(holding.index.select("test"))
    shown = f"24 for training (6 of them held out), {tested} to be tested"
    assert report.facts["data"].endswith(shown)
    assert "synthetic images (drawings) of engine_wiring, pipe_clip" in report.facts["data"]
    assert (len(holding.sizes), len(holding.training)) == (24 + tested, 18)


@pytest.mark.parametrize(("wanted", "severity"), [(False, "note"), (True, "warning")])
def test_too_few_held_out(tmp_path: Path, tiny_data: Path, wanted: bool, severity: str) -> None:
    report = empty(tmp_path)
    check_data(station(tmp_path, tiny_data), SMALL, CheckOptions(rate_is_wanted=wanted), report)
    assert [finding.severity for finding in report.findings] == [severity] * 6
    assert "promise a false-alarm rate of at most 0.5, not 0.05" in report.findings[0].found


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, expected in (("none", "no such folder"), ("file", "is no folder")):
        report = empty(tmp_path)
        file = station(tmp_path, tmp_path / name)
        assert check_data(file, SMALL, CheckOptions(), report) is None
        assert [(f.kind, f.found) for f in report.findings] == [("data-folder", expected)]


def test_a_broken_image_and_a_folder_without_training_images(
    tmp_path: Path, tiny_data: Path
) -> None:
    shutil.copytree(tiny_data, tmp_path / "data")
    file = station(tmp_path, tmp_path / "data")
    image = sorted((tmp_path / "data").glob("pipe_clip/**/train/good/*.png"))[2]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    report = empty(tmp_path)
    assert check_data(file, SMALL, CheckOptions(), report) is None
    assert kinds(report) == ["data-folder"]
    assert str(image) in report.findings[0].found
    for folder in (tmp_path / "data").glob("**/train"):
        shutil.rmtree(folder)
    report = empty(tmp_path)
    assert check_data(file, SMALL, CheckOptions(), report) is None
    assert kinds(report)[0] in ("no-training-images", "data-folder")


# Weights


def test_the_fingerprint_is_what_the_station_itself_tells(tmp_path: Path, tiny_data: Path) -> None:
    file = station(tmp_path, tiny_data, 'weights = "random"')
    report = empty(tmp_path)
    extractor = check_weights(file, SMALL.with_(weights="random"), True, report)
    assert extractor is not None
    told = survey(
        open_station(parse_config_args([file.node_config()]), SMALL.to_run_config())
    ).feature_space.fingerprint
    assert report.facts["fingerprint"].startswith(told)
    assert extractor.space.fingerprint == told


@pytest.mark.parametrize(("synthetic", "severity"), [(True, "note"), (False, "warning")])
def test_random_weights(tmp_path: Path, synthetic: bool, severity: str) -> None:
    report = empty(tmp_path)
    check_weights(station(tmp_path, tmp_path), SMALL.with_(weights="random"), synthetic, report)
    assert [(f.kind, f.severity) for f in report.findings] == [("random-weights", severity)]


def test_missing_weights_are_told_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = station(tmp_path, tmp_path)
    for source in ("auto", "imagenet"):
        report = empty(tmp_path)
        assert check_weights(file, SMALL.with_(weights=source), False, report) is None
        assert kinds(report) == ["weights"]
        assert f"at {find_backbone('resnet18').weights.path()}" in report.findings[0].found
        assert str(tmp_path / "torch") in report.findings[0].found
    # Not even for drawings do random weights take their place.
    report = empty(tmp_path)
    assert check_weights(file, SMALL, True, report) is None
    assert kinds(report) == ["weights"]


def test_weight_files_that_are_not_the_backbones(tmp_path: Path) -> None:
    file = station(tmp_path, tmp_path)
    (tmp_path / "w.pth").write_bytes(b"no weights")
    for name, expected in (("none.pth", "no such file"), ("w.pth", "is a text file")):
        report = empty(tmp_path)
        source = str(tmp_path / name)
        assert check_weights(file, SMALL.with_(weights=source), False, report) is None
        assert [(f.kind, f.path) for f in report.findings] == [("weights", tmp_path / name)]
        assert expected in report.findings[0].found


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    report = empty(tmp_path)
    settings = SMALL.with_(weights="random", device="cuda:77")
    assert check_weights(station(tmp_path, tmp_path), settings, True, report) is not None
    assert kinds(report) == ["device", "random-weights"]
    assert "'cuda:77' asked for" in report.findings[0].found


@pytest.mark.parametrize("lies", [False, True])
def test_a_device_is_tried(lies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch)
    if lies:
        lie(monkeypatch, "features")
    report = empty(tmp_path)
    assert check_weights(station(tmp_path, tmp_path), SMALL.with_(weights="random"), True, report)
    assert report.facts["device"].startswith("cpu (cpu:0 failed: " if lies else "cpu:0")
    assert kinds(report) == ["random-weights", *(["device"] if lies else [])]
    assert report.count("warning") == lies


# Disk


def load(patches: int = 1000, images: int = 10, largest: int = 160_000) -> Load:
    return Load(images, largest, patches, patches, dim=1536)


def test_a_cache_folder_is_not_made_here(tmp_path: Path) -> None:
    file = station(tmp_path, tmp_path)
    report = empty(tmp_path)
    assert check_cache(file, report) == tmp_path
    assert not file.cache_dir.exists()
    (tmp_path / "cache").mkdir()
    assert check_cache(file, report) == tmp_path / "cache"
    assert report.findings == []


def test_a_cache_folder_that_cannot_be(tmp_path: Path) -> None:
    file = station(tmp_path, tmp_path)
    (tmp_path / "cache").symlink_to(tmp_path / "gone")
    report = empty(tmp_path)
    assert check_cache(file, report) is None
    assert [f.found for f in report.findings] == [f"{tmp_path}/cache is no folder"]


def test_a_cache_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    report, real = empty(tmp_path), os.getuid()
    # Root may write everywhere, but what is asked is what the *real* user may do.
    os.setreuid(real or 65534, -1)
    try:
        assert check_cache(station(tmp_path, tmp_path), report) is None
    finally:
        os.setreuid(real, -1)
    assert "may not write in" in report.findings[0].found


def test_room_for_features(tmp_path: Path) -> None:
    file = station(tmp_path, tmp_path, "cache-limit-gb = 1")
    report = empty(tmp_path)
    settings = Settings(global_bank_size=1)
    # 1536 numbers of 2 bytes and 128 projected ones of 4: 3,584 bytes a patch, and 1 GiB is
    # 299,593.1 times that.
    check_disk(file, settings, load(299_593), tmp_path, report)
    assert report.findings == []
    assert "features of all 10 images take 1.00 GiB, cache-limit-gb is 1" in report.facts["disk"]
    check_disk(file, settings, load(299_594), tmp_path, report)
    assert kinds(report) == ["features-do-not-fit"]
    assert "those of about 9 of 10 images are kept" in report.findings[0].found
    assert report.findings[0].mend == "set cache-limit-gb to 2 or more in the station file"
    # In float32 6,656 bytes a patch: 1.86 GiB.
    report = empty(tmp_path)
    check_disk(file, settings.with_(wire_dtype="float32"), load(299_593), tmp_path, report)
    assert report.findings[0].mend == "set cache-limit-gb to 2 or more in the station file"
    assert "features take 1.86 GiB: those of about 5 of 10 images" in report.findings[0].found


def test_the_disk_that_features_take() -> None:
    # 10 training patches and 5 others of 1536 numbers: the others are kept in float32.
    both = Load(images=3, largest=1, patches=15, training_patches=10, dim=1536)
    scored = 5 * 4 * 1536
    assert needed_disk(Settings(), both) == 10 * (2 * 1536 + 4 * 128) + scored
    assert needed_disk(Settings(coreset_projection=0), both) == 10 * 2 * 1536 + scored
    assert needed_disk(Settings(wire_dtype="float32"), both) == 10 * (4 * 1536 + 512) + scored


def test_a_disk_that_is_too_small(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    file = station(tmp_path, tmp_path, "cache-limit-gb = 999999")
    report = empty(tmp_path)
    check_disk(file, Settings(global_bank_size=1), load(2 * free // 3072), tmp_path, report)
    assert kinds(report) == ["features-do-not-fit"]
    assert "2.00 GiB stay free" in report.findings[0].found
    report = empty(tmp_path)
    rows = math.ceil(free / 3072)
    check_disk(file, Settings(global_bank_size=rows), load(1), tmp_path, report)
    assert [(f.kind, f.severity) for f in report.findings] == [("disk-full", "error")]


# Memory


def tree(folder: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """Files as /proc and /sys/fs/cgroup have them."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "proc", folder / "cgroup"


MEMINFO = {"proc/meminfo": "MemTotal:  8388608 kB\nMemAvailable:  4194304 kB\n"}
V2 = {"proc/self/cgroup": "0::/a/b\n"}
V1 = {"proc/self/cgroup": "3:cpu,cpuacct:/x\n2:memory:/docker/0123\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "expected", "source"),
    [
        (MEMINFO, 4 * GIB, "available now"),
        (MEMINFO | V2 | {"cgroup/a/b/memory.max": "max\n"}, 4 * GIB, "available now"),
        (MEMINFO | V2 | {"cgroup/a/b/memory.max": f"{GIB}\n"}, GIB, "cgroup/a/b/memory.max"),
        (
            MEMINFO
            | V2
            | {"cgroup/a/b/memory.max": f"{2 * GIB}\n", "cgroup/a/memory.max": f"{GIB}\n"},
            GIB,
            "cgroup/a/memory.max",
        ),
        (
            # A container sees its own group at the top, under the host's name for it.
            MEMINFO | V1 | {"cgroup/memory/memory.limit_in_bytes": f"{GIB}\n"},
            GIB,
            "cgroup/memory/memory.limit_in_bytes",
        ),
        (
            MEMINFO | V1 | {"cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
            4 * GIB,
            "available now",
        ),
        (V2 | {"cgroup/memory.max": f"{GIB}\n"}, GIB, "cgroup/memory.max"),
        ({}, None, ""),
        ({"proc/meminfo": "nothing known\n"}, None, ""),
    ],
)
def test_memory_that_may_be_used(
    tmp_path: Path, files: dict[str, str], expected: int | None, source: str
) -> None:
    found, told = available_memory(*tree(tmp_path, files))
    assert found == expected
    assert told.endswith(source)


def test_memory_of_this_machine() -> None:
    found, _ = available_memory()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found is not None
    assert 0 < found <= total


def test_memory_that_is_needed(tmp_path: Path) -> None:
    settings = Settings(num_workers=1, global_bank_size=10_000)
    # 1 image of 400x400; 1000 patches at 128 numbers of 4 bytes and 64 more; 4 x 10,000 x 1536 x 4.
    expected = PROCESS_BYTES + BYTES_PER_PIXEL * 160_000 + 1000 * 576 + 245_760_000
    assert needed_memory(settings, load()) == expected
    assert needed_memory(settings.with_(coreset_projection=0), load()) == expected + 1000 * 5632
    file = station(tmp_path, tmp_path)
    for limit, found in ((expected, []), (expected - 1, ["memory"])):
        report = empty(tmp_path)
        files = MEMINFO | V2 | {"cgroup/memory.max": f"{limit}\n"}
        check_memory(file, settings, load(), report, *tree(tmp_path, files))
        assert kinds(report) == found
        assert f"about {gigabytes(expected)} needed" in report.facts["memory"]


# The whole


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", Wanted(stations=("clips",)))
    shutil.copytree(tmp_path / "keys/stations/clips", tmp_path / "clips")
    return tmp_path


def test_a_station_that_is_ready(
    plant: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, home = plant / "keys", plant / "clips"
    upstream = Upstream(answer=(400, [], b'{"code": 2003}'))  # as Flower answers a known key
    small = ["--set", "backbone=resnet18", "--target-false-alarm-rate", "0.5"]
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_in_thread(keys, superlink) as gateway,
    ):
        station(home, tiny_data, 'weights = "random"', f"localhost:{gateway}")
        assert run(["check", "--station", str(home), *small]) == 0
        shown = capsys.readouterr().out
        assert run(["check", "--station", str(home / "station.toml"), *small, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
    assert "clips: 0 errors, 0 warnings, 1 notes; ready" in shown
    assert (told["station"], told["clean"]) == ("clips", True)
    assert list(told["facts"]) == [
        *("data", "device", "feature space", "fingerprint", "disk", "memory"),
        *("key", "certificate", "authority", "server", "gateway", "registered"),
    ]
    for label, text in told["facts"].items():
        if label not in ("disk", "memory"):  # which change from one second to the next
            assert f"seen {label}: {text}" in shown
    assert [f["kind"] for f in told["findings"]] == ["random-weights"]


def test_everything_that_is_wrong_is_named_at_once(
    plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = plant / "clips"
    station(home, plant / "none", 'weights = "none.pth"')
    (home / "station.key").chmod(0o644)
    (home / "cache").symlink_to(home / "gone")
    assert run(["check", "--station", str(home), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [f["kind"] for f in told["findings"]] == [
        "data-folder",
        "weights",
        "cache-dir",
        "key-open-to-others",
        "connection-refused",
    ]
    assert told["counts"] == {"error": 5, "warning": 0, "note": 0}


def test_what_cannot_be_looked_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, expected in (
        (["--station"], f"{tmp_path}/station.toml: no such file"),
        (["--station", "."], f"{tmp_path}/station.toml: no such file"),
        ([], "give a data folder, or --station"),
        ([".", "--set", "wire-dtype=float32"], "a data folder is checked without wire-dtype"),
    ):
        assert run(["check", *words]) == 2
        assert expected in capsys.readouterr().err


def test_a_run_names_no_file_on_a_station(
    plant: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    published = find_backbone("resnet18").weights.path()
    assert published is not None
    published.parent.mkdir(parents=True)
    torch.save(random_state(expected_shapes("resnet18", ("layer2", "layer3")), 5), published)
    station(plant / "clips", tiny_data)
    settings = SMALL.with_(weights=str(plant / "none.pth"))
    report = check_station(plant / "clips", settings, seconds=1)
    assert "weights" not in kinds(report)
