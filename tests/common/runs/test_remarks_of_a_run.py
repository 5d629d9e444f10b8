"""What every kind of run says of its images and of what it holds out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from data_folders import mvtec
from odd_pictures import deep, noise, turned
from PIL import Image

from client_app.station import open_station
from client_app.surveyed import survey
from common.cli.main import run
from common.config import Settings
from common.data.layout import DataIndex, index_data
from common.runs.baseline import run_baseline
from common.runs.local import run_local

pytestmark = pytest.mark.usefixtures("plain_files")

COMMON: dict[str, Any] = {
    "backbone": "resnet18", "weights": "random", "global_bank_size": 30, "num_workers": 0,
    "device": "cpu",
}  # fmt: skip
DEPTH = "nut: 16-bit images with no value above 4111 of 65535, as of a camera of 12 bits"
TURNED = "nut: 1 images are turned by their EXIF orientation and their masks are not"


@pytest.fixture
def odd(tmp_path: Path) -> DataIndex:
    """A category whose camera has 12 bits, with one test image that lies on its head."""
    home = mvtec(tmp_path / "data", "nut")
    for number, path in enumerate(sorted(home.glob("t*/*/*.png"))):
        deep(path, 12, number, (24, 16))
    turned(home / "test/crack/001.png", 3)
    return index_data(tmp_path / "data")


def says(notices: list[str], *starts: str) -> bool:
    return all(sum(n.startswith(start) for n in notices) == 1 for start in starts)


def test_every_run_tells_of_unused_values_and_turned_images(odd: DataIndex, tmp_path: Path) -> None:
    """Container range is not value range; orientation applied to one of a pair: no run said so."""
    settings = Settings(**COMMON, num_stations=1, data_root=str(odd.root))
    assert says(run_baseline(settings, odd, tmp_path / "base").record.notices, DEPTH, TURNED)
    assert says(run_local(settings, odd, tmp_path / "local").notices, DEPTH, TURNED)
    out = tmp_path / "again"
    assert run(["evaluate", str(tmp_path / "base"), str(odd.root), "--out", str(out)]) == 0
    assert says(json.loads((out / "run.json").read_text())["notices"], DEPTH, TURNED)
    node = {"station": "paint-shop", "data-root": str(odd.root), "cache-dir": str(tmp_path / "c")}
    told = survey(open_station(node, Settings(**COMMON).to_run_config())).notices
    assert says(told, DEPTH, TURNED)
    assert str(tmp_path) not in " ".join(told)


SMALL = (
    "nut: 2 of 2 annotated defects are smaller than one patch (8x8 pixels of the network's input = "
    "4x4 of the file): image-size=43 would leave none, and scale images up"
)


def test_every_run_tells_of_defects_smaller_than_a_patch(tmp_path: Path) -> None:
    """A defect within one patch was lost, and nobody said that the chosen size was why."""
    mvtec(tmp_path / "data", "nut")  # 24 x 16 pixels, regions of 2 x 3
    index = index_data(tmp_path / "data")
    settings = Settings(**COMMON, num_stations=1, data_root=str(index.root), image_size=32)
    out = tmp_path / "again"
    sentences = [
        run_baseline(settings, index, tmp_path / "base").record.notices,
        run_local(settings, index, tmp_path / "local").notices,
    ]
    assert run(["evaluate", str(tmp_path / "base"), str(index.root), "--out", str(out)]) == 0
    sentences.append(json.loads((out / "run.json").read_text())["notices"])
    # At 48 pixels a patch is 8 x 16 / 48 = 2.67 pixels of the file: less than these three.
    large = settings.with_(image_size=48)
    assert not says(run_baseline(large, index, tmp_path / "large").record.notices, "nut: 2 of 2")
    for notices in sentences:
        assert says(notices, SMALL)
        assert str(tmp_path) not in " ".join(notices)


def test_inspect_and_add_tell_of_unused_values(
    odd: DataIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Container range is not value range: neither command said anything."""
    settings = Settings(**COMMON, num_stations=1, data_root=str(odd.root))
    model = tmp_path / "base"
    run_baseline(settings, odd, model)
    good, out = odd.root / "nut/test/good", tmp_path / "out"
    capsys.readouterr()
    assert run(["inspect", str(model), str(good), "--scores-only", "--out", str(out)]) == 0
    assert "as of a camera of 12 bits" in capsys.readouterr().out
    assert run(["add", str(model), str(good), "--out", str(tmp_path / "more")]) == 0
    assert "as of a camera of 12 bits" in capsys.readouterr().out
    plain = tmp_path / "8.png"
    Image.fromarray(noise(1, (24, 16))).save(plain)
    assert run(["inspect", str(model), str(plain), "--scores-only", "--out", str(out)]) == 0
    assert "camera" not in capsys.readouterr().out


def test_the_baseline_says_by_whom_its_images_are_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The baseline followed station settings without a word: of five images none, no threshold."""
    home = mvtec(tmp_path / "data", "nut")
    for number in range(2, 5):
        Image.fromarray(noise(number, (24, 16))).save(home / f"train/good/{number:03d}.png")
    index, out = index_data(tmp_path / "data"), tmp_path / "five"
    settings = Settings(**COMMON, data_root=str(index.root))
    said = (
        "nut: none of 5 training images held out for the threshold, as 5 stations of the category "
        "partition hold out; one place alone (num-stations=1) would hold out 1"
    )
    assert said in run_baseline(settings, index, out).record.notices
    image = str(home / "test/good/000.png")
    assert run(["inspect", str(out), image, "--out", str(tmp_path / "judged")]) == 2
    error = capsys.readouterr().err
    assert "the model has no threshold" in error
    assert "with num-stations=1" in error
    # The advice helps.
    alone = run_baseline(settings.with_(num_stations=1), index, tmp_path / "one").record
    assert not any("num-stations" in notice for notice in alone.notices)
    assert run(["inspect", str(tmp_path / "one"), image, "--out", str(tmp_path / "judged")]) == 0
