"""What a check says of the settings that are planned: the grid, the rows, the memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_folders import autovi, mask, mvtec, picture
from PIL import Image

from common.check import CheckOptions, Finding, check_folder
from common.cli.main import run
from common.config import Settings
from common.patchcore.network.feature_space import FeatureSpace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four training images of 100 x 60, three defects of 2 x 3 pixels, and a long one."""
    home = mvtec(tmp_path / "data", "nut")
    for number, path in enumerate(sorted(home.glob("t*/*/*.png"))):
        picture(path, (100, 60), number)
    for path in home.glob("ground_truth/*/*.png"):
        mask(path, size=(100, 60))
    for number in (2, 3):
        picture(home / f"train/good/{number:03d}.png", (100, 60), 40 + number)
    return home.parent


def below(root: Path, **settings: object) -> list[Finding]:
    options = CheckOptions(Settings().with_(**settings))
    return [f for f in check_folder(root, options).findings if f.kind == "defects-below-patch"]


def test_a_size_that_makes_defects_too_small_is_a_warning(root: Path) -> None:
    # 3 pixels of 60: at the own size a patch is 8 of them, at 128 it is 3.75, at 160 just 3.
    (found,) = below(root, image_size=128)
    assert found.path == root / "nut"
    assert found.severity == "note"  # the own size is no better
    assert found.found == (
        "2 of 2 annotated defects are smaller than one patch (8x8 pixels of the network's input "
        "= 3.75x3.75 of the file)"
    )
    assert below(root, image_size=160) == []
    assert below(root, image_size=159)
    assert below(root, image_size=80, layers="layer1") == []  # 4 x 60 / 80 = 3
    (found,) = below(root, layers="layer3")
    assert "16x16 pixels of the network's input = 16x16 of the file" in found.found


def test_the_severity_says_whether_the_size_is_to_blame(root: Path) -> None:
    for path in root.glob("nut/ground_truth/*/*.png"):
        grey = np.zeros((100, 60), dtype=np.uint8)
        grey[40, 20:29] = 255
        Image.fromarray(grey).save(path)
    (found,) = below(root, image_size=32)
    assert found.severity == "warning"  # 9 pixels; 8 x 60 / 32 = 15 to a patch, 8 at own size
    assert found.mend == "use image-size=0 (own size) or at least 54"  # 8 x 60 / 9 = 53.3
    assert below(root) == []


def test_a_file_is_a_defect_in_autovis_layout(tmp_path: Path) -> None:
    autovi(tmp_path / "data")  # four masks of 2 x 3
    (found,) = below(tmp_path / "data")
    assert found.found.startswith("4 of 4 annotated defects are")


def test_what_another_finding_names_is_counted_by_that_alone(root: Path) -> None:
    for path in root.glob("nut/ground_truth/*/*.png"):
        grey = np.zeros((100, 60), dtype=np.uint8)
        grey[40:60, 20:29], grey[5, 5] = 255, 255  # a defect, and a speck
        Image.fromarray(grey).save(path)
    assert below(root) == []
    assert {f.kind for f in check_folder(root).findings} >= {"mask-specks"}


def test_what_is_suggested_follows_from_grid_images_and_memory(root: Path) -> None:
    def suggested(memory: int | None, **settings: object) -> dict[str, object]:
        found = check_folder(root, CheckOptions(Settings().with_(**settings), memory=memory))
        assert found.suggested is not None
        assert f"({found.suggested['patches']} patches of 3 training" in found.suggestion
        return found.suggested

    # One of four images is held out; 13 x 8 patches of each other, 576 bytes a patch.
    assert suggested(10**9) == {
        "image-size": 0,
        "global-bank-size": 156,  # half of the patches is the most
        "local-coreset-ratio": 0.5,
        "images": 3,
        "patches": 312,
        "memory_bytes": 312 * 576,
        "available_bytes": 10**9,
    }
    planned = suggested(None, global_bank_size=20, oversample_factor=2.0)
    assert (planned["global-bank-size"], planned["local-coreset-ratio"]) == (20, 0.13)
    planned = suggested(None, global_bank_size=20, local_coreset_ratio=0.3)
    assert (planned["global-bank-size"], planned["local-coreset-ratio"]) == (20, 0.3)
    planned = suggested(None, global_bank_size=1)
    assert (planned["global-bank-size"], planned["local-coreset-ratio"]) == (4, 0.1)  # 1 percent
    # Room for half as many: 60 / sqrt(2) is 42, and 32 the next multiple below.
    assert suggested(312 * 576)["image-size"] == 32
    space = FeatureSpace("resnet18", ("layer2",), 3, 32, "float32", "imagenet", "ab")
    rows, columns = space.patch_grid((100, 60))
    assert suggested(312 * 576)["patches"] == 3 * rows * columns


def test_the_command_takes_the_planned_size(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(root), "--set", "image-size=64", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["suggested"]["image-size"] == 64
    assert facts["suggested"]["available_bytes"] > 0
    assert run(["check", str(root), "--set", "image-size=64"]) == 0
    assert "suggested image-size=64 (" in " ".join(capsys.readouterr().out.split())
    assert run(["check", str(root), "--set", "wire-dtype=int8"]) == 2
    assert "checked without wire-dtype" in " ".join(capsys.readouterr().err.split())
