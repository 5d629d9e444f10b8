"""A model folder: whole or not at all, and damage said in one sentence."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from users import another_user

from common.errors import InputError
from common.patchcore.model_files import file_digest
from common.patchcore.model_store import SavedModel
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.shares import Share

SPACE = FeatureSpace("resnet18", ("layer2", "layer3"), 3, 0, "float32", "random (seed 42)", "ab")
ROWS = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float16)


def model(**changes: Any) -> SavedModel:
    facts: dict[str, Any] = {
        "banks": {"shared": ROWS},
        "space": SPACE,
        "categories": ("bolt", "nut"),
        "thresholds": {"bolt": {"value": 1.5}},
        "calibration": {"bolt": [0.5, 1.5]},
        "radii": {"shared": 2.25},
        "weights_source": "random",
        "provenance": {"method": "centralized"},
    }
    return SavedModel(**{**facts, **changes})


def equal(one: SavedModel, two: SavedModel) -> bool:
    assert list(one.banks) == list(two.banks)
    for name, rows in one.banks.items():
        assert rows.dtype == two.banks[name].dtype
        np.testing.assert_array_equal(rows, two.banks[name])
    facts = [{k: v for k, v in vars(m).items() if k != "banks"} for m in (one, two)]
    return facts[0] == facts[1]


def test_saving_and_loading_is_the_identity(tmp_path: Path) -> None:
    for number, saved in enumerate(
        (
            model(),
            model(shares={"bolt": Share(2, 1.5), "nut": Share(3)}),
            model(shares={"bolt": Share(2)}),  # the others were added without a name
            model(radii={}, thresholds={}, categories=(), provenance={}, image_score="99.5"),
            model(
                banks={"bolt": ROWS.astype(np.float32), "nut": ROWS[:2].astype(np.float32)},
                radii={"bolt": 1.5},
            ),
        )
    ):
        folder = tmp_path / f"run{number}" / "model"
        saved.save(folder)
        assert equal(SavedModel.load(folder), saved)
        assert equal(SavedModel.load(folder.parent), saved)
        assert sorted(p.name for p in folder.iterdir()) == ["bank.safetensors", "model.json"]
        assert sorted(p.name for p in folder.parent.iterdir()) == ["model"]


def test_what_the_json_says_to_people(tmp_path: Path) -> None:
    model().save(tmp_path / "m")
    facts = json.loads((tmp_path / "m/model.json").read_text())
    assert facts["scope"] == "shared"
    assert facts["rows"] == {"shared": 5}
    assert facts["feature_dim"] == 4
    assert facts["fingerprint"] == SPACE.fingerprint
    assert model(banks={"bolt": ROWS}, radii={}).scope == "category"


def test_a_model_is_replaced_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model().save(tmp_path / "m")
    model(radii={"shared": 9.0}).save(tmp_path / "m")
    assert SavedModel.load(tmp_path / "m").radius == 9.0
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files than a model"):
        model().save(tmp_path / "other")
    with pytest.raises(InputError, match=r"mine\.txt: a file"):
        model().save(tmp_path / "other/mine.txt")
    with pytest.raises(NotADirectoryError, match=r"mine\.txt"):
        model().save(tmp_path / "other/mine.txt/m")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model().save(Path("."))
    assert SavedModel.load(tmp_path / "here").radius == 2.25


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    facts = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in facts.items() if v != "drop"}))


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def bank(folder: Path, **banks: Any) -> None:
    save_file(banks, folder / "bank.safetensors")


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (lambda m: (m / "model.json").unlink(), "no model here"),
    (lambda m: (m / "bank.safetensors").unlink(), "bank.safetensors: is missing"),
    (lambda m: (m / "model.json").write_text("{"), "ends in the middle"),
    (lambda m: (m / "model.json").write_text(""), "is empty"),
    (lambda m: (m / "model.json").write_text("<html>"), "is not JSON"),
    (lambda m: (m / "model.json").write_bytes(b"\xff"), "is not UTF-8 text"),
    (lambda m: (m / "model.json").write_text("[]"), "holds list without the key"),
    (lambda m: (m / "bank.safetensors").write_bytes(b"rubbish"), "is no safetensors file"),
    (lambda m: (m / "bank.safetensors").write_bytes(b""), "is empty"),
    (lambda m: loop(m / "bank.safetensors"), "links that lead in a circle"),
    (
        lambda m: (m / "bank.safetensors").write_bytes((m / "bank.safetensors").read_bytes()[:-3]),
        "is not whole",
    ),
    (lambda m: edit(m, format=2), "format 2; this version reads 1"),
    (lambda m: edit(m, rows="drop"), "not the facts of a model"),
    (lambda m: edit(m, rows=["shared"]), "not the facts of a model"),
    (lambda m: edit(m, rows={}), "do not belong together"),
    (lambda m: edit(m, rows={"shared": 6}), "model.json says (6, 4)"),
    (lambda m: edit(m, rows={"shared": 5, "bolt": 1}), "do not belong together"),
    (lambda m: edit(m, feature_dim="drop"), "not the facts of a model"),
    (lambda m: edit(m, feature_dim=8), "model.json says (5, 8)"),
    (lambda m: edit(m, radius="far", radii="drop"), "not the facts of a model"),
    (lambda m: edit(m, radii={"nut": 1.0}), "of banks that are there"),
    (lambda m: edit(m, radii={"shared": -1.0}), "expected distances"),
    (lambda m: edit(m, shares=[1]), "not the facts of a model"),
    (lambda m: edit(m, shares={"bolt": {"rows": 6, "radius": 1.0}}), "no more than there are"),
    (lambda m: edit(m, shares={"bolt": {"rows": 0, "radius": 1.0}}), "at least one row"),
    (lambda m: edit(m, shares={"bolt": {"rows": 1, "radius": -1.0}}), "and distances"),
    (lambda m: edit(m, shares={"bolt": {"rows": 1}}), "not the facts of a model"),
    (lambda m: edit(m, thresholds=[1]), "not the facts of a model"),
    (lambda m: edit(m, calibration={"bolt": [float("nan")]}), "calibration score is not finite"),
    (lambda m: edit(m, calibration=[1.0]), "not the facts of a model"),
    (lambda m: edit(m, calibration={"bolt": ["1.0"]}), "is '1.0'; expected a number"),
    (lambda m: edit(m, thresholds={"bolt": {"value": "9e9"}}), "is '9e9'; expected a number"),
    (lambda m: edit(m, thresholds={"bolt": {"value": True}}), "is True; expected a number"),
    (lambda m: edit(m, thresholds={"bolt": {"value": 9e9}}), "none of the"),
    (lambda m: edit(m, image_score="99"), "model.json: has changed since it was written"),
    (lambda m: edit(m, sha256=None), "model.json: has changed since it was written"),
    (lambda m: bank(m, shared=ROWS + np.float16(1)), "bank.safetensors: has changed since it was"),
    (lambda m: edit(m, categories=None), "not the facts of a model"),
    (lambda m: edit(m, feature_space={}), "feature space"),
    (
        lambda m: edit(m, feature_space={**SPACE.to_json(), "image_size": 64}),
        "does not belong to the facts beside it",
    ),
    (lambda m: bank(m, shared=ROWS.astype(np.float64)), "is float64"),
    (lambda m: bank(m, shared=ROWS[:0]), "is float16 (0, 4)"),
    (lambda m: bank(m, shared=np.full_like(ROWS, np.nan)), "is empty or not finite"),
    (lambda m: bank(m, shared=ROWS, extra=ROWS), "do not belong together"),
]


@pytest.mark.parametrize(("spoil", "said"), DAMAGE)
def test_damage_is_one_error_that_names_the_folder(
    tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    folder = tmp_path / "m"
    model().save(folder)
    spoil(folder)
    with pytest.raises(InputError) as caught:
        SavedModel.load(folder)
    assert str(caught.value).startswith(str(folder))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_user_is_not_called_damaged(tmp_path: Path) -> None:
    """A model file that this user may not read was "damaged", and to be trained anew.

    The super-user may read all, so there the test becomes another user for a moment.
    """
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "m"
        model().save(folder)
        folder.chmod(0o755)
        for name in ("bank.safetensors", "model.json"):
            (folder / name).chmod(0)
            with another_user(), pytest.raises(InputError) as caught:
                SavedModel.load(folder)
            assert str(caught.value).startswith(f"{folder / name}: the user nobody may not do")
            assert "anew" not in str(caught.value)
            (folder / name).chmod(0o644)
        folder.chmod(0)
        with (
            another_user(),
            pytest.raises(InputError, match=r"m/model\.json: the user nobody may not do"),
        ):
            SavedModel.load(folder)
        folder.chmod(0o755)
        with another_user():
            assert equal(SavedModel.load(folder), model())


def test_a_mark_in_front_of_the_json_is_passed_over(tmp_path: Path) -> None:
    """What an editor leaves of itself: the mark of an encoding, which JSON does not know."""
    model().save(tmp_path)
    path = tmp_path / "model.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert equal(SavedModel.load(tmp_path), model())


def test_one_radius_of_the_first_version_is_that_of_every_bank(tmp_path: Path) -> None:
    """One radius for all banks: now each has its own, and the old key is still read."""
    own = model(
        banks={"bolt": ROWS, "nut": ROWS[:2]}, radii={"bolt": 2.0, "nut": 0.5}, stale=("nut",)
    )
    own.save(tmp_path)
    assert equal(SavedModel.load(tmp_path), own)
    assert json.loads((tmp_path / "model.json").read_text())["radius"] == own.radius == 2.0
    added = {"bank": "bolt", "rows": 1, "when": "2026-01-01"}
    edit(tmp_path, sha256="drop", radii="drop", stale="drop", provenance={"added": [added]})
    first = SavedModel.load(tmp_path)
    assert first.radii == {"bolt": 2.0, "nut": 2.0}
    assert first.stale == ("bolt",)  # it was calibrated, and has grown since
    edit(tmp_path, radius=None, provenance={})
    assert (SavedModel.load(tmp_path).radii, SavedModel.load(tmp_path).stale) == ({}, ())


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no model here; expected model\.json"):
        SavedModel.load(tmp_path / "nowhere")


def test_the_model_of_a_run_is_the_one_that_the_run_tells_of(tmp_path: Path) -> None:
    own, other = tmp_path / "run/model", tmp_path / "other"
    model().save(own)
    model(provenance={"method": "another"}).save(other)
    told = {"model_sha256": file_digest(own / "model.json")}
    (tmp_path / "run/run.json").write_text(json.dumps(told))
    assert equal(SavedModel.load(tmp_path / "run"), model())
    shutil.rmtree(own)
    shutil.copytree(other, own)  # whole, and not that run's
    for folder in (tmp_path / "run", own):
        with pytest.raises(InputError, match=r"model\.json: is not the model that .*run\.json"):
            SavedModel.load(folder)
    # What `add` made of it says so itself; a run of the first version tells of no model.
    model(provenance={"added": [{"bank": "bolt"}]}).save(own)
    SavedModel.load(own)
    model(provenance={"method": "another"}).save(own)
    (tmp_path / "run/run.json").write_text("{}")
    SavedModel.load(own)
