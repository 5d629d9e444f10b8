"""The synthetic data set: bytes, counts, ground truth, errors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from common.data.synthetic import CATEGORIES, draw_image, write_synthetic
from common.errors import InputError

SIDE = 48  # pixels: small enough to be quick, large enough for every part to be seen
DEFECTS = [(index, d.name) for index, c in enumerate(CATEGORIES) for d in c.defects]
NAMES = [f"{CATEGORIES[index].name}-{name}" for index, name in DEFECTS]


def hashes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("synthetic") / "new" / "set"
    return root, write_synthetic(root, images=3, size=SIDE, seed=5)


def test_layout_and_counts_are_those_of_the_summary(
    written: tuple[Path, dict[str, Any]],
) -> None:
    root, summary = written
    assert sorted(p.name for p in root.iterdir()) == sorted(
        [c.name for c in CATEGORIES] + ["synthetic.json"]
    )
    assert [p.name for p in root.parent.iterdir()] == ["set"]  # nothing partial is left beside it
    for category in CATEGORIES:
        counts = summary["categories"][category.name]["counts"]
        # 3 training images; 60 % of 3 = 1.8, so 2 good test images; at least 2 of each type.
        assert counts == {"train/good": 3, "test/good": 2} | {
            f"test/{d.name}": 2 for d in category.defects
        }
        for folder, count in counts.items():
            names = sorted(p.name for p in (root / category.name / folder).iterdir())
            assert names == [f"{k:04d}.png" for k in range(count)]
        masks = list((root / category.name / "ground_truth").rglob("*.png"))
        assert len(masks) == summary["categories"][category.name]["regions"]


def test_sizes_are_in_proportion_and_not_swapped(written: tuple[Path, dict[str, Any]]) -> None:
    root, summary = written
    for category in CATEGORIES:
        # 1000x750 beside 400x400: 2.5 and 1.875 times 48 are 120 and 90 pixels.
        width_height = (120, 90) if category.large else (48, 48)
        for path in (root / category.name).rglob("*.png"):
            with Image.open(path) as image:
                assert image.size == width_height
                assert image.mode == "RGB"
        assert summary["categories"][category.name]["size"] == [width_height[1], width_height[0]]


def test_every_mask_holds_one_grey_value_of_the_config(
    written: tuple[Path, dict[str, Any]],
) -> None:
    root, _ = written
    kinds = set()
    for category in CATEGORIES:
        home = root / category.name
        config = json.loads((home / "defects_config.json").read_text())
        values = {entry["pixel_value"]: entry["defect_name"] for entry in config}
        assert len(values) == len(config)
        for entry in config:
            assert 1 <= entry["pixel_value"] <= 255
            kinds.add(entry["relative_saturation"])
            if entry["relative_saturation"]:
                assert 0.0 < entry["saturation_threshold"] <= 1.0
            else:
                assert isinstance(entry["saturation_threshold"], int)
                assert entry["saturation_threshold"] >= 1
        for defect in category.defects:
            for path in sorted((home / "test" / defect.name).iterdir()):
                number = int(path.stem)
                masks = sorted((home / "ground_truth" / defect.name / path.stem).iterdir())
                types = []
                for mask_path in masks:
                    mask = np.asarray(Image.open(mask_path))
                    assert (mask == mask[..., :1]).all()
                    positive = np.unique(mask[mask > 0])
                    assert len(positive) == 1
                    types.append(values[int(positive[0])])
                assert set(types) == set(defect.types_of_image(number))
    assert kinds == {True, False}  # relative and absolute saturation both occur


def test_absolute_saturation_grows_with_the_picture() -> None:
    tank = next(c for c in CATEGORIES if c.name == "tank_screw")
    # 0.5 % of 750 x 1000 pixels, and of 240 x 320.
    assert tank.defects_config(400)[0]["saturation_threshold"] == 3750
    assert tank.defects_config(128)[0]["saturation_threshold"] == 384


def test_it_says_that_it_is_synthetic(written: tuple[Path, dict[str, Any]]) -> None:
    root, summary = written
    about = json.loads((root / "synthetic.json").read_text())
    assert about["synthetic"] is True
    assert (about["seed"], about["size"], about["images"]) == (5, SIDE, 3)
    assert "drawings" in about["note"]
    assert summary.items() >= about.items()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_synthetic(tmp_path / name, images=1, size=32, seed=seed)
    first, again, other = (hashes(tmp_path / name) for name in "abc")
    assert first == again
    pictures = {name for name in first if "/train/" in name or "/test/" in name}
    assert pictures
    assert all(first[name] != other[name] for name in pictures)
    assert len({first[name] for name in pictures}) == len(pictures)  # no image twice


def test_an_image_does_not_depend_on_how_many_there_are(
    written: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    write_synthetic(tmp_path / "fewer", images=1, size=SIDE, seed=5)
    fewer, more = hashes(tmp_path / "fewer"), hashes(written[0])
    fewer.pop("synthetic.json")
    assert len(fewer) > 30
    assert {name: more[name] for name in fewer} == fewer


@pytest.mark.parametrize(("index", "name"), DEFECTS, ids=NAMES)
def test_a_defect_is_seen_in_its_region_and_nowhere_else(index: int, name: str) -> None:
    side = 96
    for number in range(2):
        image, perfect = (
            draw_image(index, f"test/{name}", number, size=side, seed=11, with_defects=wanted)
            for wanted in (True, False)
        )
        assert perfect.regions == ()
        assert image.pixels.shape == (*CATEGORIES[index].image_size(side), 3)
        change = np.abs(image.pixels.astype(int) - perfect.pixels).max(axis=2)
        for _, mask in image.regions:
            assert mask.sum() >= 0.002 * mask.size
            # Most of a region looks unlike the perfect image, by far more than the noise.
            assert change[mask].mean() > 15.0
        covered = np.any([mask for _, mask in image.regions], axis=0)
        # Shadows fall, and missing parts throw none, within a twentieth of the picture's height.
        around = ndimage.binary_dilation(covered, iterations=len(covered) // 20)
        assert (change[~around] > 30).mean() < 0.002


def test_defects_lie_off_centre_too() -> None:
    """A tank's screw is right of the middle: a swap of width and height cannot go unseen."""
    index = [c.name for c in CATEGORIES].index("tank_screw")
    image = draw_image(index, "test/missing", 0, size=SIDE, seed=0)
    down, across = ndimage.center_of_mass(image.regions[0][1])
    height, width = image.pixels.shape[:2]
    assert 0.60 < across / width < 0.75
    assert 0.40 < down / height < 0.70


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**40), which=st.sampled_from(DEFECTS), size=st.integers(32, 70))
def test_any_seed_and_size_gives_regions_within_the_image(
    seed: int, which: tuple[int, str], size: int
) -> None:
    index, name = which
    image = draw_image(index, f"test/{name}", seed % 7, size=size, seed=seed)
    expected = CATEGORIES[index].defects[[d.name for d in CATEGORIES[index].defects].index(name)]
    assert {kind for kind, _ in image.regions} == set(expected.types_of_image(seed % 7))
    for _, mask in image.regions:
        assert mask.shape == image.pixels.shape[:2]
        assert 0 < mask.sum() < 0.6 * mask.size


def test_like_autovi_has_the_counts_on_disk() -> None:
    plans = {c.name: c.counts(1, like_autovi=True) for c in CATEGORIES}
    assert sum(plan["train/good"] for plan in plans.values()) == 1523
    assert sum(plan["test/good"] for plan in plans.values()) == 1521
    assert sum(sum(plan.values()) for plan in plans.values()) == 1523 + 1521 + 878
    assert plans["underbody_pipes"]["test/obstruction"] == 180
    sizes = {c.name: c.image_size(400) for c in CATEGORIES}
    assert sizes["engine_wiring"] == (400, 400)
    assert sizes["tank_screw"] == (750, 1000)


def test_progress_counts_up_to_all_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_synthetic(tmp_path / "set", images=1, size=32, progress=lambda *at: seen.append(at))
    # Six categories, 1 + 1 good images each, and two for each of the 13 defect types.
    assert seen == [(k, 38) for k in range(1, 39)]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="is not empty") as caught:
        write_synthetic(tmp_path, images=1, size=32)
    assert str(tmp_path) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="is a file"):
        write_synthetic(tmp_path / "mine.txt", images=1, size=32)
    with pytest.raises(NotADirectoryError):
        write_synthetic(tmp_path / "mine.txt" / "set", images=1, size=32)


def test_a_link_to_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_synthetic(tmp_path / "link", images=1, size=32)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "synthetic.json").is_file()


def test_an_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(root, images=1, size=32, progress=interrupt)
    assert list(tmp_path.rglob("*")) == [root]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"images": 0}, "images is 0"), ({"size": 31}, "size is 31"), ({"seed": -1}, "seed is -1")],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        write_synthetic(tmp_path / "set", **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_folder_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no folder 'test/dent'"):
        draw_image(0, "test/dent", 0, size=SIDE, seed=0)
