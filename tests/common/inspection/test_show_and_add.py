"""`show`, and `add`: new normal images in a bank without a refit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inspection_cases import draw_part
from PIL import Image
from saved_models import write_facts

from common.cli.main import run
from common.errors import InputError
from common.inspection.growth import add_images
from common.patchcore import PatchCore
from common.patchcore.distances import Distances
from common.patchcore.model_files import file_digest
from common.patchcore.model_store import SavedModel
from common.patchcore.network.inputs import ImageInput


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run" / "model"))


@pytest.fixture
def unusual(tmp_path: Path) -> list[Path]:
    """Good parts of a new kind: with a checked patch, as nothing that the model was fitted on."""
    return [draw_part(tmp_path / f"new/{n}.png", 300 + n, defect=True) for n in range(3)]


def test_new_parts_become_normal_and_nothing_becomes_less_normal(
    model: Path, unusual: list[Path], parts: Path
) -> None:
    before = PatchCore.load(model)
    others = sorted((parts / "plate/test/good").glob("*.png"))
    old_new = [one.score for one in before.predict(unusual)]
    old_good = [one.score for one in before.predict(others)]
    growth = add_images(model, unusual, most_rows=100, suspicious=True)
    assert growth.folder == model.with_name("model.1")
    after = PatchCore.load(growth.folder)
    rows, old = after.banks["plate"], before.banks["plate"]
    assert growth.rows_before == len(old)
    assert len(rows) == growth.rows_after < len(old) + 100
    assert (rows[: len(old)] == old).all()
    assert growth.radius is not None
    assert growth.reach_after <= growth.radius < growth.reach_before
    assert after.radius == growth.radius
    assert all(a < b for a, b in zip(_scores(after, unusual), old_new, strict=True))
    assert all(a <= b for a, b in zip(_scores(after, others), old_good, strict=True))
    assert after.thresholds == before.thresholds
    assert after.calibration == before.calibration
    (added,) = after.provenance["added"]
    assert (added["images"], added["rows"]) == (3, len(rows) - len(old))
    assert after.provenance["parent"] == {
        "name": "model",
        "sha256": file_digest(model / "model.json"),
    }
    assert (PatchCore.load(model).banks["plate"] == old).all()


def test_new_parts_join_with_the_copies_that_the_model_was_built_with(
    model: Path, unusual: list[Path]
) -> None:
    """Their images count once, their patches with all copies, and turned they are normal, too."""
    plain = add_images(model, unusual, most_rows=400, out=model.parent / "a", suspicious=True)
    replace(SavedModel.load(model), augment="rotations").save(model.parent / "turning")
    copied = add_images(
        model.parent / "turning", unusual, most_rows=400, out=model.parent / "b", suspicious=True
    )
    assert (copied.images, copied.patches) == (plain.images, 4 * plain.patches)
    turned = [np.rot90(np.asarray(Image.open(path).convert("RGB"))) for path in unusual]
    before, after = (
        max(found.score for found in PatchCore.load(model.parent / name).predict(turned))
        for name in "ab"
    )
    assert after < before


def _scores(model: PatchCore, images: list[Path]) -> list[float]:
    return [one.score for one in model.predict(images)]


def test_rows_are_the_farthest_first_continuation(model: Path, unusual: list[Path]) -> None:
    """Slow twin: again and again the patch farthest from all rows, in the projected space."""
    before = PatchCore.load(model)
    growth = add_images(model, unusual, most_rows=5, out=model.parent / "other", suspicious=True)
    assert growth.folder == model.parent / "other"
    assert (PatchCore.load(model).banks["plate"] == before.banks["plate"]).all()
    settings = before.settings
    measure = Distances(settings.coreset_projection, settings.seed)
    inputs = [ImageInput(path) for path in unusual]
    patches = np.concatenate(
        [f.reshape(-1, f.shape[-1]) for f in before.source.stream(inputs, np.float16)]
    )
    rows = before.banks["plate"]
    for _ in range(5):
        gaps = measure(patches)[:, None].astype(float) - measure(rows)[None]
        farthest = int(np.sqrt((gaps**2).sum(axis=2)).min(axis=1).argmax())
        rows = np.concatenate([rows, patches[farthest : farthest + 1]])
    assert (SavedModel.load(model.parent / "other").banks["plate"] == rows).all()


def test_the_coreset_goes_on_in_the_projection_of_its_fit(
    fitted: PatchCore, parts: Path, unusual: list[Path], tmp_path: Path
) -> None:
    """The model's own components and seed, not the defaults; a model that tells none says so."""
    model = PatchCore(
        fitted.settings.with_(coreset_projection=2, seed=5), extractor=fitted.extractor
    )
    model.fit(sorted((parts / "plate/train/good").glob("*.png"))[:6], "plate")
    model.save(tmp_path / "own")
    facts = json.loads((tmp_path / "own/model.json").read_text())
    assert facts["coreset_projection"] == {"components": 2, "seed": 5}
    again = PatchCore.load(tmp_path / "own")
    assert (again.settings.coreset_projection, again.settings.seed) == (2, 5)
    shutil.copytree(tmp_path / "own", tmp_path / "old")
    del facts["coreset_projection"]  # as a version before this one wrote it
    write_facts(tmp_path / "old/model.json", facts)
    assert SavedModel.load(tmp_path / "old").selection is None

    first = {}
    for name in ("own", "old"):
        growth = add_images(tmp_path / name, unusual, most_rows=1)
        assert growth.folder is not None
        first[name] = SavedModel.load(growth.folder).banks["plate"][-1]
        assert ("projection is not known" in growth.sentence) == (name == "old")
    patches = np.concatenate(
        [
            features.reshape(-1, features.shape[-1])
            for features in fitted.source.stream(map(ImageInput, unusual), np.float16)
        ]
    )
    for name, distances in (("own", Distances(2, 5)), ("old", Distances(128, 42))):
        gaps = distances(patches)[:, None].astype(float) - distances(model.banks["plate"])[None]
        farthest = int((gaps**2).sum(axis=2).min(axis=1).argmax())
        assert (first[name] == patches[farthest]).all()
    assert (first["own"] != first["old"]).any()
    with pytest.raises(InputError, match="selected with 2, and goes on with it"):
        add_images(tmp_path / "own", unusual, changes={"coreset_projection": 128})


def test_the_bank_grows_by_a_tenth_at_most_unless_told(model: Path, unusual: list[Path]) -> None:
    growth = add_images(model, unusual, suspicious=True)
    assert growth.rows_after - growth.rows_before == 4  # a tenth of 33, rounded up
    assert growth.radius is not None
    assert growth.reach_after > growth.radius
    assert "add them again" in growth.sentence
    assert growth.folder is not None
    again = add_images(growth.folder, unusual, suspicious=True)
    assert again.rows_before == growth.rows_after
    assert again.folder == model.with_name("model.2")
    grown = SavedModel.load(again.folder)
    assert len(grown.provenance["added"]) == 2
    assert grown.provenance["parent"]["name"] == "model.1"


def test_no_model_is_ever_overwritten(model: Path, unusual: list[Path]) -> None:
    """Twice from the same model: two models beside it; `--out` takes an empty place only."""
    content = (model / "bank.safetensors").read_bytes()
    names = [add_images(model, unusual, suspicious=True).folder for _ in range(2)]
    assert names == [model.with_name("model.1"), model.with_name("model.2")]
    with pytest.raises(InputError, match="a model is there already; nothing is overwritten"):
        add_images(model, unusual, suspicious=True, out=model.with_name("model.1"))
    with pytest.raises(InputError, match="a model is there already; nothing is overwritten"):
        add_images(model, unusual, suspicious=True, out=model)
    (model.parent / "photos").mkdir()
    (model.parent / "photos/a.png").touch()
    with pytest.raises(InputError, match="something is there already"):
        add_images(model, unusual, suspicious=True, out=model.parent / "photos")
    assert (model / "bank.safetensors").read_bytes() == content


def test_nothing_is_written_where_nothing_is_new(model: Path, parts: Path) -> None:
    content = (model / "model.json").read_bytes()
    images = sorted((parts / "plate/train/good").glob("*.png"))[:6]
    growth = add_images(model, images)  # those that it was fitted on
    assert growth.folder is None
    assert growth.sentence.startswith("nothing to add")
    assert (model / "model.json").read_bytes() == content
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_what_cannot_be_added_is_refused(model: Path, unusual: list[Path], tmp_path: Path) -> None:
    content = (model / "bank.safetensors").read_bytes()
    with pytest.raises(InputError, match="no bank for category 'bolt'"):
        add_images(model, unusual, category="bolt")
    with pytest.raises(InputError, match="--rows 0"):
        add_images(model, unusual, most_rows=0)
    unusual[1].write_bytes(b"x")
    with pytest.raises(InputError, match=r"1\.png"):
        add_images(model, unusual)
    assert (model / "bank.safetensors").read_bytes() == content
    with pytest.raises(InputError, match="no model here"):
        add_images(tmp_path, unusual[:1])


def test_the_commands(model: Path, unusual: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(unusual[0].parent)
    assert run(["add", str(model.parent), folder, "--rows", "4", "--yes"]) == 0
    text = capsys.readouterr().out
    assert "4 rows added to 33" in text
    assert f"Written: {model.with_name('model.1')}" in text.replace("\n", "")
    model = model.with_name("model.1")
    assert run(["show", str(model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["rows"] == {"plate": 37}
    assert facts["categories"] == ["plate"]
    assert facts["thresholds"]["plate"]["held_out_images"] == 6
    assert facts["calibration_images"] == {"plate": 6}
    assert run(["show", str(model)]) == 0
    text = capsys.readouterr().out
    for words in ("plate 37 rows of 384 numbers", "resnet18", "threshold plate", "4 rows from 3"):
        assert words in text
    assert run(["show", folder]) == 2


def test_show_names_the_stations(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model / "model.json"
    facts = json.loads(path.read_text())
    facts["provenance"] = {
        "method": "federated",
        "created": "2026-01-02T03:04:05+00:00",
        "flower_run_id": "77",
        "stations": {"north": 45, "south": 15},
        "synthetic_data": True,
    }
    write_facts(path, facts)
    assert run(["show", str(model)]) == 0
    text = capsys.readouterr().out
    assert "45 rows (75%)" in text
    assert "2026-01-02T03:04:05+00:00 by federated" in text
    assert "SYNTHETIC" in text
