"""A data folder with faults of many kinds: every one must be named, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.check import CheckOptions, check_folder
from common.check.image_checks import judge_held_out
from common.cli.main import run
from common.config import Settings
from common.data.holdout import split_holdout
from common.data.layout import Sample, index_data
from common.data.synthetic import write_synthetic
from common.errors import InputError

SIZE = (40, 48)


def picture(path: Path, seed: int, size: tuple[int, int] = SIZE, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def mask(path: Path, value: int = 255, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.zeros(size, dtype=np.uint8)
    grey[2:12, 9:20] = value  # larger than a patch
    Image.fromarray(grey).save(path)
    return path


def part(root: Path, name: str, seed: int) -> Path:
    """A sound category in AutoVI's layout: 6 training, 2 good and 4 defective images."""
    home = root / name
    for number in range(6):
        picture(home / f"train/good/{number}.png", seed + number)
    for number in range(2):
        picture(home / f"test/good/{number}.png", seed + 100 + number)
    for number in range(4):
        picture(home / f"test/dent/{number}.png", seed + 200 + number)
        mask(home / f"ground_truth/dent/{number}/0000.png")
    entry = {"defect_name": "dent", "pixel_value": 255, "saturation_threshold": 0.5}
    table = [{**entry, "relative_saturation": True}]
    (home / "defects_config.json").write_text(json.dumps(table))
    return home


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number, name in enumerate(("alpha", "beta", "gamma")):
        part(root, name, 1000 * number)
    return root


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-900])
    return path


def copied(source: Path, target: Path) -> Path:
    """The same pixels in a file of other bytes."""
    Image.open(source).save(target, compress_level=0)
    return target


def linked(path: Path) -> Path:
    path.symlink_to("nowhere.png")
    return path


def written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def removed(path: Path) -> Path:
    path.unlink()
    return path


def one_colour(path: Path) -> Path:
    Image.new("RGB", (SIZE[1], SIZE[0]), (3, 3, 3)).save(path)
    return path


def colourful_mask(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (*SIZE, 3), dtype=np.uint8)).save(path)
    return path


def full_mask(path: Path) -> Path:
    Image.new("L", (SIZE[1], SIZE[0]), 255).save(path)
    return path


def without_mask(home: Path) -> Path:
    (home / "ground_truth/dent/0/0000.png").unlink()
    (home / "ground_truth/dent/0").rmdir()
    return home / "test/dent/0.png"


def nested(home: Path) -> Path:
    inner = home / home.name
    (home / "keep").mkdir()
    for entry in list(home.iterdir()):
        if entry.name != "keep":
            entry.rename(home / "keep" / entry.name)
    (home / "keep").rename(inner)
    return inner


def planned(rate: float, fraction: float) -> CheckOptions:
    settings = Settings(target_false_alarm_rate=rate, calibration_fraction=fraction)
    return CheckOptions(settings.with_(num_stations=1), rate_is_wanted=True)


Plant = Callable[[Path], Path]
FAULTS: dict[str, tuple[str, Plant]] = {
    # kind -> where it goes, and how it is planted; the path that must be named comes back
    "not-a-category": ("", lambda root: made(root / "notes")),
    "misplaced-file": ("alpha", lambda home: picture(home / "train/7.png", 1)),
    "ambiguous-nesting": ("beta", lambda home: part(home, "beta", 7000)),
    "wrong-name": ("alpha", lambda home: renamed(home / "test/good", "Good")),
    "defects-in-train": ("alpha", lambda home: picture(home / "train/dent/0.png", 2).parent),
    "empty-folder": ("alpha", lambda home: made(home / "test/scratch")),
    "folder-among-images": ("alpha", lambda home: made(home / "train/good/old")),
    "not-an-image-name": ("alpha", lambda home: written(home / "train/good/a.txt", "x")),
    "broken-link": ("alpha", lambda home: linked(home / "train/good/8.png")),
    "same-stem": ("alpha", lambda home: picture(home / "test/dent/3.tif", 3)),
    "defect-like-name": ("alpha", lambda home: renamed(home / "train/good/1.png", "1_dent.png")),
    "bad-defects-config": ("beta", lambda home: written(home / "defects_config.json", "[{}]")),
    "missing-defects-config": ("gamma", lambda home: removed(home / "defects_config.json")),
    "missing-mask": ("alpha", without_mask),
    "orphaned-mask": ("alpha", lambda home: mask(home / "ground_truth/dent/77/0000.png").parent),
    "unreadable-mask": ("alpha", lambda home: written(home / "ground_truth/dent/1/0000.png", "x")),
    "mask-size": ("alpha", lambda home: mask(home / "ground_truth/dent/2/0000.png", size=(20, 24))),
    "unknown-mask-value": ("alpha", lambda home: mask(home / "ground_truth/dent/3/0000.png", 99)),
    "several-mask-values": (
        "beta",
        lambda home: colourful_mask(home / "ground_truth/dent/0/0000.png"),
    ),
    "empty-mask": ("beta", lambda home: mask(home / "ground_truth/dent/1/0000.png", 0)),
    "mask-covers-image": ("beta", lambda home: full_mask(home / "ground_truth/dent/2/0000.png")),
    "unreadable-image": ("alpha", lambda home: truncated(home / "train/good/2.png")),
    "uniform-image": ("beta", lambda home: one_colour(home / "train/good/2.png")),
    "mixed-sizes": ("beta", lambda home: picture(home / "train/good/3.png", 5, size=(60, 48))),
    "image-too-small": ("gamma", lambda home: picture(home / "test/good/0.png", 6, size=(16, 48))),
    "grey-among-colour": ("gamma", lambda home: picture(home / "train/good/3.png", 8, mode="L")),
    "train-image-in-test": (
        "gamma",
        lambda home: copied(home / "train/good/0.png", home / "test/good/1.png"),
    ),
    "good-and-defective": (
        "gamma",
        lambda home: copied(home / "train/good/1.png", home / "test/dent/3.png"),
    ),
    "duplicate-image": (
        "gamma",
        lambda home: copied(home / "train/good/4.png", home / "train/good/5.png"),
    ),
    "image-in-two-categories": (
        "gamma",
        lambda home: copied(home.parent / "beta/train/good/4.png", home / "train/good/2.png"),
    ),
    "mixed-layouts": ("beta", lambda home: mask(home / "ground_truth/dent/9_mask.png").parent),
    "missing-ground-truth": ("gamma", lambda home: renamed(home / "ground_truth", "truth")),
    "no-training-images": ("alpha", lambda home: (renamed(home / "train", "old"), home)[1]),
    "no-good-test-images": ("beta", lambda home: (renamed(home / "test/good", "nick"), home)[1]),
}
ALONE = ("missing-ground-truth", "no-training-images", "no-good-test-images", "mixed-layouts")
"""Faults that would hide others, or be hidden, if all were planted in the same three categories."""


def test_a_sound_folder_is_clean(sound: Path) -> None:
    report = check_folder(sound)
    assert {f.kind for f in report.findings} == {"too-few-for-false-alarm-rate"}
    assert report.exit_code == 0
    assert (report.images, report.masks) == (36, 12)
    assert report.categories == ["alpha", "beta", "gamma"]


def test_every_one_of_many_faults_in_one_folder_is_named(sound: Path) -> None:
    planted = {kind: fault for kind, fault in FAULTS.items() if kind not in ALONE}
    places = {kind: plant(sound / home) for kind, (home, plant) in planted.items()}
    assert len(places) >= 25
    report = check_folder(sound)
    found = {(f.kind, f.path) for f in report.findings}
    missed = {kind for kind, path in places.items() if not _named(kind, path, found)}
    assert not missed
    assert report.exit_code == 1
    assert all(f.found and f.why and f.mend for f in report.findings)


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_alone_is_named(sound: Path, kind: str) -> None:
    home, plant = FAULTS[kind]
    place = plant(sound / home)
    report = check_folder(sound)
    found = {(f.kind, f.path) for f in report.findings}
    assert _named(kind, place, found), found
    assert report.exit_code == 1


def _named(kind: str, path: Path, found: set[tuple[str, Path]]) -> bool:
    if kind == "ambiguous-nesting":
        return (kind, path) in found
    if kind == "missing-ground-truth":
        return (kind, path.with_name("ground_truth")) in found
    if kind == "mixed-layouts":
        return (kind, path.parent) in found
    return (kind, path) in found


def test_notes_do_not_make_a_folder_unclean(sound: Path) -> None:
    inner = nested(sound / "alpha")
    jpeg = picture(sound / "beta/train/good/3.jpg", 50)
    jpeg.replace(sound / "beta/train/good/3.png")
    report = check_folder(sound)
    assert {f.kind: f.path for f in report.findings if f.severity == "note"}.items() >= {
        "double-nesting": inner,
        "wrong-suffix": sound / "beta/train/good/3.png",
    }.items()
    assert report.exit_code == 0


def test_masks_in_mvtec_layout(tmp_path: Path) -> None:
    home = tmp_path / "data/nut"
    for number in range(4):
        picture(home / f"train/good/{number:03d}.png", number)
        picture(home / f"test/crack/{number:03d}.png", 10 + number)
        mask(home / f"ground_truth/crack/{number:03d}_mask.png", 200)
    picture(home / "test/good/000.png", 20)
    assert check_folder(tmp_path / "data").exit_code == 0
    (home / "ground_truth/crack/001_mask.png").unlink()
    mask(home / "ground_truth/crack/002_mask.png", size=(20, 24))
    orphan = mask(home / "ground_truth/crack/044_mask.png")
    found = {f.kind: f.path for f in check_folder(tmp_path / "data").findings}
    assert found.pop("too-few-for-false-alarm-rate") == home / "train/good"
    assert found == {
        "missing-mask": home / "test/crack/001.png",
        "mask-size": home / "ground_truth/crack/002_mask.png",
        "orphaned-mask": orphan,
    }
    # A mask that is not called <stem>_mask.png belongs to no image.
    orphan.unlink()
    mask(home / "ground_truth/crack/001_mask.png")
    mask(home / "ground_truth/crack/002_mask.png")
    stray = renamed(home / "ground_truth/crack/003_mask.png", "003.png")
    found = {f.kind: f.path for f in check_folder(tmp_path / "data").findings}
    assert found["orphaned-mask"] == stray
    assert found["missing-mask"] == home / "test/crack/003.png"


def test_a_wanted_false_alarm_rate_needs_enough_images(sound: Path) -> None:
    # 6 images, half held out: 3 promise 1 / 4.
    options = planned(0.25, 0.5)
    assert check_folder(sound, options).exit_code == 0
    report = check_folder(sound, planned(0.2, 0.5))
    assert report.exit_code == 1
    assert {f.severity for f in report.findings} == {"warning"}
    # 1 / 0.2 - 1 = 4 held out, half of 8 images.
    assert "bring 8 good training images" in report.findings[0].mend


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("count", [2, 3, 5, 15, 25, 80])
def test_check_counts_held_out_images_as_a_station_does(count: int, fraction: float) -> None:
    own = [Sample(Path(f"{n}.png"), "nut", "train", 0, "good") for n in range(count)]
    held_out = len(split_holdout(own, fraction)[1])
    (finding,) = judge_held_out(Path("train/good"), count, planned(0.001, fraction))
    assert finding.found.startswith(f"{count} good training images, {held_out} of them held out")


def test_one_training_image_leaves_none_to_hold_out(sound: Path) -> None:
    for number in range(1, 6):
        (sound / f"alpha/train/good/{number}.png").unlink()
    kinds = {f.kind for f in check_folder(sound).findings}
    assert "single-training-image" in kinds


def test_synthetic_data_are_clean(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", images=4, size=32)
    report = check_folder(tmp_path / "data")
    assert [f for f in report.findings if f.severity != "note"] == []


def test_what_no_run_looks_at_is_a_warning(sound: Path) -> None:
    # Runs accept the folder; more is meant by it than they read.
    beside = [
        picture(sound / "0.png", 1),
        picture(sound / "alpha/0.png", 2),
        part(sound / "beta", "beta", 7000),
    ]
    table = sound / "gamma/defects_config.json"
    for number in range(4):
        mask(sound / f"gamma/ground_truth/dent/{number}_mask.png")
        (sound / f"gamma/ground_truth/dent/{number}/0000.png").unlink()
        (sound / f"gamma/ground_truth/dent/{number}").rmdir()
    written(table, "[{}]")  # not needed for MVTec's masks
    index_data(sound)
    found = check_folder(sound).findings
    kinds = ("misplaced-file", "misplaced-file", "ambiguous-nesting", "bad-defects-config")
    assert {(f.severity, f.kind, f.path) for f in found if f.severity != "note"} == {
        ("warning", kind, path) for kind, path in zip(kinds, [*beside, table], strict=True)
    }


def test_a_folder_that_may_not_be_listed_hides_no_other_fault(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, locked = Path.iterdir, sound / "alpha/train/good"

    def refuse(folder: Path) -> Iterator[Path]:  # root, as whom tests often run, may list all
        if folder == locked:
            raise PermissionError("Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    text = written(sound / "beta/train/good/a.txt", "x")
    found = {(f.kind, f.path) for f in check_folder(sound).findings if f.severity == "error"}
    assert found == {("unlistable-folder", locked), ("not-an-image-name", text)}


def test_categories_one_folder_deeper_are_pointed_at(sound: Path) -> None:
    with pytest.raises(InputError, match=f"one folder deeper: pass {sound}"):
        check_folder(sound.parent)


@pytest.mark.parametrize("case", ["absent", "file", "empty", "category"])
def test_nothing_to_look_over_is_unusable(sound: Path, tmp_path: Path, case: str) -> None:
    paths = {
        "absent": tmp_path / "absent",
        "file": written(tmp_path / "file", "x"),
        "empty": made(tmp_path / "empty"),
        "category": sound / "alpha",
    }
    with pytest.raises(InputError, match=str(paths[case])):
        check_folder(paths[case])
    assert run(["check", str(paths[case])]) == 2


def test_the_command_says_where_why_and_how(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(sound)]) == 0
    capsys.readouterr()
    truncated(sound / "alpha/train/good/2.png")
    assert run(["check", str(sound), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["clean"] is False
    assert facts["counts"] == {"error": 1, "warning": 0, "note": 3}
    assert facts["findings"][0]["path"] == str(sound / "alpha/train/good/2.png")
    assert run(["check", str(sound)]) == 1
    text = capsys.readouterr().out
    assert "error unreadable-image" in text
    assert f"alpha{os.sep}train{os.sep}good{os.sep}2.png: a truncated" in text
    assert "mend: copy the file again" in text
