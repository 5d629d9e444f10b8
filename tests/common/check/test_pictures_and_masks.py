"""What `check` says of cameras' values, turned images, implausible masks and unread folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_folders import mvtec, picture
from numpy.typing import NDArray
from odd_pictures import (
    bomb,
    deep,
    labelled,
    marks,
    mask,
    no_longer_than,
    noise,
    pages,
    pipe,
    smoothed_by_jpeg,
    soft_edged,
    turned,
    with_specks,
)
from PIL import Image

from common.check import CheckOptions, Finding, check_folder
from common.cli.main import run
from common.config import Settings
from common.data.holdout import hold_out_as_stations
from common.data.layout import index_data


@pytest.fixture
def nut(tmp_path: Path) -> Path:
    """A sound category in MVTec's layout: 4 training, 2 good and 2 defective images of 96 x 96."""
    home = tmp_path / "data/nut"
    for number in range(4):
        picture(home / f"train/good/{number:03d}.png", (96, 96), number)
    for number in range(2):
        picture(home / f"test/good/{number:03d}.png", (96, 96), 10 + number)
        picture(home / f"test/crack/{number:03d}.png", (96, 96), 20 + number)
        mask(home / f"ground_truth/crack/{number:03d}_mask.png", marks())
    assert findings(home) == []
    return home


def findings(home: Path) -> list[Finding]:
    """What is found but the few held-out images."""
    found = check_folder(home.parent).findings
    return [f for f in found if f.kind != "too-few-for-false-alarm-rate"]


def inverted(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return 255 - values


def covering(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    covered = np.full_like(values, 255)
    covered[:, :8] = 0
    return covered


MASKS: dict[str, tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], str, str]] = {
    "JPEG": (smoothed_by_jpeg, "mask-smoothed", "above half of the largest value there are 2"),
    "soft": (soft_edged, "mask-smoothed", "read as 2 regions of 18.06% of the image"),
    "labels": (labelled, "mask-levels", "2 grey values above 0: read as 2 regions"),
    "inverted": (inverted, "mask-inverted", "marked all around: read as 1 region of 88.19%"),
    "specks": (with_specks, "mask-specks", "3 regions of a few pixels: read as 5 regions"),
    # 88 of 96 columns.
    "covering": (covering, "mask-covers-image", "mostly marked: read as 1 region of 91.67%"),
}


@pytest.mark.parametrize("case", MASKS)
def test_each_kind_of_implausible_mask_is_a_finding_that_says_how_it_is_read(
    nut: Path, case: str
) -> None:
    """Implausible masks passed the check, and AUC-sPRO fell without a word."""
    spoil, kind, found = MASKS[case]
    place = mask(nut / "ground_truth/crack/001_mask.png", spoil(marks()))
    (finding,) = findings(nut)
    assert (finding.kind, finding.path, finding.severity) == (kind, place, "warning")
    assert found in finding.found
    assert check_folder(nut.parent).exit_code == 1
    index_data(nut.parent)  # a run accepts it


def test_the_mask_of_a_good_image(nut: Path) -> None:
    """Wrong words: "draw the region" of a good image. Marked pixels contradict the folder."""
    place = mask(nut / "ground_truth/good/000_mask.png", np.zeros((96, 96), np.uint8))
    assert findings(nut) == []
    mask(place, marks())
    (finding,) = findings(nut)
    # 16 x 18 + 20 x 40 pixels.
    assert (finding.kind, finding.path) == ("mask-of-good-image", place)
    assert finding.found == "1088 pixels above 0"
    place.write_bytes(b"no picture")
    (finding,) = findings(nut)
    assert (finding.kind, finding.severity) == ("unreadable-mask", "warning")


def test_a_category_of_12_bits_in_16_bit_files(nut: Path) -> None:
    """Container range is not value range: AUC-sPRO was 0.09 instead of 0.65."""
    for path in [*nut.glob("train/good/*.png"), *nut.glob("test/*/*.png")]:
        deep(path, 12, seed=hash(path.name) % 99 + len(str(path)), size=(96, 96))
    named = [f for f in findings(nut) if f.kind == "unused-range"]
    assert [(f.path, f.severity) for f in named] == [(nut, "warning")]
    assert "no value above 4111 of 65535" in named[0].found
    assert "camera of 12 bits" in named[0].found
    for path in [*nut.glob("train/good/*.png"), *nut.glob("test/*/*.png")]:
        deep(path, 16, seed=len(str(path)), size=(96, 96))
    assert "unused-range" not in {f.kind for f in findings(nut)}


@pytest.mark.parametrize(
    ("image", "truth", "severity"),
    [(6, 1, "warning"), (1, 3, "warning"), (6, 6, "note")],
)
def test_an_orientation_of_an_image_with_masks_is_always_named(
    nut: Path, image: int, truth: int, severity: str
) -> None:
    """Orientation applied to one of a pair: AUC-sPRO was 0.002 instead of 0.75."""
    place = turned(nut / "test/crack/000.png", image)
    turned(nut / "ground_truth/crack/000_mask.png", truth)
    (finding,) = findings(nut)
    assert (finding.kind, finding.path, finding.severity) == ("turned-image", place, severity)
    assert finding.found == f"EXIF orientation {image}, of its masks {truth}"


def test_an_orientation_that_the_sizes_confirm_is_a_note(nut: Path) -> None:
    """Orientation applied to one of a pair: drawn on the turned image, the mask fits it."""
    place = picture(nut / "test/crack/000.png", (40, 96), 5)
    turned(place, 6)
    mask(nut / "ground_truth/crack/000_mask.png", marks()[:, 40:80])
    found = {f.kind: f.severity for f in findings(nut)}
    assert found == {"turned-image": "note", "mixed-sizes": "warning"}


def test_a_file_of_two_pages_is_named_with_its_mend(nut: Path) -> None:
    """More than one picture in a file: the check passed it, and one page was judged."""
    place = pages(nut / "train/good/003.tif", 2)
    (nut / "train/good/003.png").unlink()
    (finding,) = (f for f in findings(nut) if f.severity == "error")
    assert (finding.kind, finding.path) == ("unreadable-image", place)
    assert finding.found == "2 pictures in one TIFF file"
    assert finding.mend == "save each as a file of its own"


def test_what_cannot_be_copied_again_is_not_to_be_copied_again(nut: Path) -> None:
    """Wrong words: too many pixels, and a pipe, for which everybody waited."""
    large, fifo = bomb(nut / "train/good/7.png"), pipe(nut / "test/good/8.png")
    with no_longer_than(60):
        found = {f.path: f for f in findings(nut) if f.severity == "error"}
    assert found.keys() == {large, fifo}
    assert found[large].mend == "scale it down or cut it into parts"
    assert (found[fifo].kind, found[fifo].mend) == ("special-file", "remove it")


def test_folders_that_no_run_reads_are_noted(nut: Path) -> None:
    """Folders that nothing read and nobody mentioned, as MVTec LOCO's validation."""
    picture(nut / "validation/good/000.png", (96, 96), 77)
    (finding,) = findings(nut)
    assert (finding.kind, finding.severity) == ("unread-folder", "note")
    assert (finding.path, finding.found) == (nut / "validation", "a folder that no run reads")


@pytest.mark.parametrize("name", ["1", "划痕", "2_3", "Ä"])
def test_a_defect_types_name_is_looked_for_by_its_letters(nut: Path, name: str) -> None:
    """A test folder named `1`, or in another script, made every 000.png a named defect."""
    (nut / "test/crack").rename(nut / "test" / name)
    (nut / "ground_truth/crack").rename(nut / "ground_truth" / name)
    assert findings(nut) == []
    if not name[0].isdigit():
        place = (nut / "train/good/003.png").rename(nut / f"train/good/003_{name}.png")
        (finding,) = findings(nut)
        assert (finding.kind, finding.path) == ("defect-like-name", place)


def test_a_test_folder_that_is_called_as_good_parts_are(nut: Path) -> None:
    """Wrong words' other side: `test/ok` counts as a defect type, which nobody mentioned."""
    (nut / "test/good").rename(nut / "test/OK")
    for number in range(2):
        mask(nut / f"ground_truth/OK/{number:03d}_mask.png", marks())
    kinds = {f.kind: f.path for f in findings(nut)}
    assert kinds == {"good-like-name": nut / "test/OK", "no-good-test-images": nut}


@pytest.mark.parametrize(("partition", "together"), [("category", 9), ("iid", 10)])
def test_check_counts_held_out_images_as_the_runs_do(
    tmp_path: Path, partition: str, together: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One function decides what is held out: of 80 images it was 8, 9 or 10 by the command."""
    home = mvtec(tmp_path / "data")
    for number in range(80):
        Image.fromarray(noise(number)).save(home / f"train/good/{number:03d}.png")
    settings = Settings(partition=partition)
    dealt = hold_out_as_stations(index_data(tmp_path / "data").samples, settings)
    # iid: 16 at each of 5 stations, 2 of them held out. category: quality control has 8 and holds
    # out 1, four lines have 18 each and hold out 2.
    assert len(dealt.held_out) == together
    report = check_folder(tmp_path / "data", CheckOptions(settings))
    (finding,) = (f for f in report.findings if f.kind == "too-few-for-false-alarm-rate")
    assert finding.found.startswith(
        f"80 good training images, 8 of them held out in one place, {together} by 5 stations of "
        f"the {partition} partition: they promise a false-alarm rate of at most 0.111"
    )
    assert run(["check", str(tmp_path / "data"), "--set", f"partition={partition}"]) == 1
    assert f"{together} by 5 stations" in capsys.readouterr().out


def test_five_images_for_five_stations_leave_none_to_hold_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check said "1 held out", and the baseline had no threshold."""
    home = mvtec(tmp_path / "data")
    for number in range(5):
        Image.fromarray(noise(number)).save(home / f"train/good/{number:03d}.png")
    found = {f.kind: f for f in check_folder(tmp_path / "data").findings}
    dealt = found["no-holdout-at-stations"]
    assert dealt.found.startswith("5 good training images, 1 held out in one place, 0 by 5")
    alone = CheckOptions(Settings(num_stations=1))
    kinds = {f.kind for f in check_folder(tmp_path / "data", alone).findings}
    assert "no-holdout-at-stations" not in kinds
    assert run(["check", str(tmp_path / "data"), "--set", "wire-dtype=float32"]) == 2
    assert "checked without wire-dtype" in capsys.readouterr().err
