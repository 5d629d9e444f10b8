"""Data folders: what is understood, and one clear error for everything else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from data_folders import autovi, config, mask, mvtec, picture

from common.data.defects import load_regions
from common.data.images import read_size
from common.data.layout import Sample, index_data
from common.errors import InputError


def counts(samples: list[Sample]) -> dict[str, int]:
    found: dict[str, int] = {}
    for sample in samples:
        key = f"{sample.split}/{sample.defect_type}"
        found[key] = found.get(key, 0) + 1
    return found


@pytest.mark.parametrize("nested", [False, True])
def test_autovi_layout(tmp_path: Path, nested: bool) -> None:
    home = autovi(tmp_path, nested=nested)
    index = index_data(tmp_path)
    assert list(index.categories) == ["part"]
    assert index.categories["part"].layout == "autovi"
    assert index.categories["part"].folder == home
    assert counts(index.samples) == {
        "train/good": 3,
        "test/good": 2,
        "test/dent": 2,
        "test/hole": 1,
    }
    assert [sample.label for sample in index.samples] == [0, 0, 0, 0, 0, 1, 1, 1]
    assert index.samples[0].masks == ()
    assert index.samples[-1].masks == tuple(
        home / f"ground_truth/hole/10/{n:04d}.png" for n in range(2)
    )
    assert not index.synthetic


def test_mvtec_layout(tmp_path: Path) -> None:
    home = mvtec(tmp_path)
    index = index_data(tmp_path)
    assert index.categories["part"].layout == "mvtec"
    assert counts(index.samples) == {"train/good": 2, "test/good": 1, "test/crack": 2}
    assert index.samples[-1].masks == (home / "ground_truth/crack/001_mask.png",)


def test_without_ground_truth_masks_are_unknown_not_absent(tmp_path: Path) -> None:
    home = mvtec(tmp_path)
    shutil.rmtree(home / "ground_truth")
    index = index_data(tmp_path)
    assert index.categories["part"].layout == "no_masks"
    assert [sample.masks for sample in index.samples] == [(), (), (), None, None]
    regions = [
        load_regions(sample, index.categories["part"], read_size(sample.path))
        for sample in index.samples
    ]
    assert regions == [[], [], [], None, None]


def test_several_categories_in_one_fixed_order(tmp_path: Path) -> None:
    mvtec(tmp_path, "screw10")
    autovi(tmp_path, "screw9")
    home = autovi(tmp_path, "bolt")
    picture(home / "train/good/10.png")
    (tmp_path / "readme.txt").write_text("a file beside the categories is nobody's image")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    index = index_data(tmp_path)
    assert list(index.categories) == ["bolt", "screw9", "screw10"]
    assert [s.path.name for s in index.select("train", "bolt")] == [
        "0.png",
        "1.png",
        "2.png",
        "10.png",
    ]
    assert len(index.select("test", "screw9")) == 5
    assert len(index.select(category="screw10")) == 5
    only = index_data(tmp_path, ["screw9"])
    assert list(only.categories) == ["screw9"]
    assert only.samples == index.select(category="screw9")


def test_a_category_may_be_a_symbolic_link(tmp_path: Path) -> None:
    autovi(tmp_path / "elsewhere", "part")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere" / "part")
    index = index_data(tmp_path / "data")
    assert list(index.categories) == ["linked"]
    assert len(index.samples) == 8
    assert index.samples[0].path == tmp_path / "data/linked/train/good/0.png"


def test_a_station_with_part_of_a_category(tmp_path: Path) -> None:
    home = autovi(tmp_path)
    shutil.rmtree(home / "test")
    shutil.rmtree(home / "ground_truth")
    assert counts(index_data(tmp_path).samples) == {"train/good": 3}
    (home / "ground_truth").mkdir()
    assert index_data(tmp_path).categories["part"].layout == "autovi"
    shutil.rmtree(home / "train")
    picture(home / "test/good/0.png")
    assert counts(index_data(tmp_path).samples) == {"test/good": 1}


def test_synthetic_data_say_so(tiny_data: Path) -> None:
    index = index_data(tiny_data)
    assert index.synthetic
    assert len(index.categories) == 6
    assert len(index.select("train")) == 24


def break_root_missing(home: Path) -> Path:
    shutil.rmtree(home.parent)
    return home.parent


def break_root_file(home: Path) -> Path:
    shutil.rmtree(home.parent)
    home.parent.write_text("")
    return home.parent


def break_root_empty(home: Path) -> Path:
    shutil.rmtree(home)
    return home.parent


def break_no_category(home: Path) -> Path:
    shutil.rmtree(home / "train")
    shutil.rmtree(home / "test")
    return home


def break_empty_train(home: Path) -> Path:
    shutil.rmtree(home / "train/good")
    return home / "train"


def break_empty_good(home: Path) -> Path:
    for path in (home / "train/good").iterdir():
        path.unlink()
    return home / "train/good"


def break_empty_defect(home: Path) -> Path:
    (home / "test/scratch").mkdir()
    return home / "test/scratch"


def break_not_an_image(home: Path) -> Path:
    (home / "train/good/notes.txt").write_text("x")
    return home / "train/good/notes.txt"


def break_folder_among_images(home: Path) -> Path:
    (home / "train/good/more").mkdir()
    return home / "train/good/more"


def break_misplaced_train(home: Path) -> Path:
    return picture(home / "train/0.png")


def break_misplaced_test(home: Path) -> Path:
    return picture(home / "test/0.png")


def break_misplaced_mask(home: Path) -> Path:
    return mask(home / "ground_truth/0.png")


def break_train_defect(home: Path) -> Path:
    picture(home / "train/dent/0.png")
    return home / "train/dent"


def break_capital_train(home: Path) -> Path:
    (home / "train").rename(home / "Train")
    return home / "Train"


def break_capital_good(home: Path) -> Path:
    (home / "test/good").rename(home / "test/Good")
    return home / "test/Good"


def break_missing_mask_folder(home: Path) -> Path:
    shutil.rmtree(home / "ground_truth/dent/1")
    return home / "ground_truth/dent/1"


def break_missing_mask(home: Path) -> Path:
    (home / "ground_truth/dent/1/0000.png").unlink()
    return home / "ground_truth/dent/1"


def break_missing_truth(home: Path) -> Path:
    shutil.rmtree(home / "ground_truth")
    return home / "ground_truth"


def break_missing_defect_truth(home: Path) -> Path:
    shutil.rmtree(home / "ground_truth/hole")
    return home / "ground_truth/hole/10"


def break_orphan_mask(home: Path) -> Path:
    return mask(home / "ground_truth/dent/7/0000.png").parent


def break_orphan_defect(home: Path) -> Path:
    return mask(home / "ground_truth/scratch/0/0000.png").parent


def break_missing_config(home: Path) -> Path:
    (home / "defects_config.json").unlink()
    return home / "defects_config.json"


def break_config(home: Path) -> Path:
    return config(home / "defects_config.json", {"dent": 255})


def break_same_stem(home: Path) -> Path:
    picture(home / "test/dent/1.jpg")
    return home / "test/dent"


def break_mixed_layouts(home: Path) -> Path:
    mask(home / "ground_truth/dent/0_mask.png")
    return home / "ground_truth"


def break_linked_category(home: Path) -> Path:
    (home.parent / "other").symlink_to("nowhere")
    return home.parent / "other"


def break_linked_image(home: Path) -> Path:
    (home / "train/good/9.png").symlink_to("nowhere")
    return home / "train/good/9.png"


BREAKS = [value for name, value in globals().items() if name.startswith("break_")]


@pytest.mark.parametrize("break_it", BREAKS)
def test_every_fault_is_one_error_that_names_the_path(
    tmp_path: Path, break_it: Callable[[Path], Path]
) -> None:
    home = autovi(tmp_path / "data")
    named = break_it(home)
    with pytest.raises(InputError) as caught:
        index_data(tmp_path / "data")
    assert re.match(rf"{re.escape(str(named))}: ", str(caught.value))
    assert "\n" not in str(caught.value)


def test_faults_of_mvtec_masks(tmp_path: Path) -> None:
    home = mvtec(tmp_path)
    (home / "ground_truth/crack/001_mask.png").rename(home / "ground_truth/crack/001.png")
    with pytest.raises(InputError, match=r"001_mask\.png: missing; the defective image .*001\.png"):
        index_data(tmp_path)
    mask(home / "ground_truth/crack/001_mask.png")
    with pytest.raises(InputError, match=r"crack/001\.png: .* not called 001_mask\.png; rename"):
        index_data(tmp_path)


def test_the_category_itself_instead_of_its_parent(tmp_path: Path) -> None:
    home = autovi(tmp_path)
    with pytest.raises(InputError, match=f"^{home}: is itself a category folder; pass its parent"):
        index_data(home)


def test_an_absent_category_lists_those_that_are_there(tmp_path: Path) -> None:
    autovi(tmp_path)
    with pytest.raises(InputError, match="no category 'bolt'; found: part"):
        index_data(tmp_path, ["part", "bolt"])


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = autovi(tmp_path)
    listed = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:  # root, as whom tests often run, may list all
        if folder == home / "train/good":
            raise PermissionError("Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"train/good: cannot be listed.*permissions"):
        index_data(tmp_path)
