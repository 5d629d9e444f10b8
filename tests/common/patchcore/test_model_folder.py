"""A model that is being replaced when its process is killed: one whole model is always there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.patchcore.model_folder import find_model, recover_model
from common.patchcore.model_store import SavedModel
from common.patchcore.network.feature_space import FeatureSpace

SPACE = FeatureSpace("resnet18", ("layer2", "layer3"), 3, 0, "float32", "random (seed 42)", "ab")

CHILDREN = """
import os, signal, sys
from pathlib import Path
import numpy as np
from common.patchcore.model_store import SavedModel

folder = Path(sys.argv[1])
old = SavedModel.load(folder / "start" / "model")
rows = np.full((6, 4), 2, np.float32)
new = SavedModel(banks={"shared": rows}, space=old.space, radii={"shared": 2.0})

for last in range(1000):
    run = folder / f"run{last:03d}"
    old.save(run / "model")
    child = os.fork()
    if child == 0:
        steps = 0

        def count(event, arguments):
            global steps
            if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                if not any(str(run) in str(argument) for argument in arguments):
                    return
                if steps == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                steps += 1

        sys.addaudithook(count)
        new.save(run / "model")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        sys.exit(0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
sys.exit("the save never came to its end")
"""
"""Saves a model over another one, killed before its first step, its second step, and so on."""


def model(value: float) -> SavedModel:
    return SavedModel(
        banks={"shared": np.full((5, 4), value, np.float32)}, space=SPACE, radii={"shared": value}
    )


def test_killed_at_any_step_a_save_leaves_the_old_model_or_the_new_one(tmp_path: Path) -> None:
    model(1.0).save(tmp_path / "start" / "model")
    command = [sys.executable, "-c", CHILDREN, str(tmp_path)]
    place = Path(__file__).parents[3]
    finished = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    runs = sorted(tmp_path.glob("run*"))
    assert len(runs) >= 8  # a folder, two files, their sync, two renames, the removal
    radii, set_aside = [], 0
    for run in runs:
        for folder in (run, run / "model"):
            found = SavedModel.load(folder)
            rows = 5 if found.radius == 1.0 else 6
            assert found.banks["shared"].shape == (rows, 4)
            assert (found.banks["shared"] == found.radius).all()
        radii.append(found.radius)
        set_aside += not (run / "model").exists()
        model(3.0).save(run / "model")  # what the crash left is in nobody's way
        assert SavedModel.load(run).radius == 3.0
        assert [path.name for path in run.iterdir()] == ["model"]
    assert radii == sorted(radii)  # the old one first, from some step on the new one
    assert set(radii) == {1.0, 2.0}
    assert set_aside >= 1  # the moment between the renames was among them


def test_a_model_set_aside_by_a_crash_is_brought_back_to_be_changed(tmp_path: Path) -> None:
    model(1.0).save(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "model.previous")
    assert find_model(tmp_path) == tmp_path / "model.previous"
    assert find_model(tmp_path / "model.previous") == tmp_path / "model.previous"
    assert recover_model(tmp_path / "model.previous") == tmp_path / "model.previous"
    assert recover_model(tmp_path) == tmp_path / "model"
    assert SavedModel.load(tmp_path / "model").radius == 1.0
    assert recover_model(tmp_path) == tmp_path / "model"
    shutil.rmtree(tmp_path / "model")
    assert find_model(tmp_path) is None
    assert recover_model(tmp_path) == tmp_path


def test_where_the_new_model_cannot_take_its_place_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(1.0).save(tmp_path / "model")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "model.partial":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space left"):
        model(2.0).save(tmp_path / "model")
    assert SavedModel.load(tmp_path / "model").radius == 1.0
    assert not (tmp_path / "model.previous").exists()
