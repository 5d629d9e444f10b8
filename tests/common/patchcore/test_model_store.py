"""A model folder: whole or not at all, and damage said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from common.errors import InputError
from common.patchcore.model_store import SavedModel
from common.patchcore.network.feature_space import FeatureSpace

SPACE = FeatureSpace("resnet18", ("layer2", "layer3"), 3, 0, "float32", "random (seed 42)", "ab")
ROWS = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float16)


def model(**changes: Any) -> SavedModel:
    facts: dict[str, Any] = {
        "banks": {"shared": ROWS},
        "space": SPACE,
        "categories": ("bolt", "nut"),
        "thresholds": {"bolt": {"value": 1.5}},
        "calibration": {"bolt": [0.5, 1.5]},
        "radius": 2.25,
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
            model(radius=None, thresholds={}, categories=(), provenance={}, image_score="99.5"),
            model(banks={"bolt": ROWS.astype(np.float32), "nut": ROWS[:2].astype(np.float32)}),
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
    assert model(banks={"bolt": ROWS}).scope == "category"


def test_a_model_is_replaced_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model().save(tmp_path / "m")
    model(radius=9.0).save(tmp_path / "m")
    assert SavedModel.load(tmp_path / "m").radius == 9.0
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.txt").write_text("x")
    with pytest.raises(InputError, match="holds other files than a model"):
        model().save(tmp_path / "other")
    with pytest.raises(InputError, match=r"mine\.txt: a file"):
        model().save(tmp_path / "other/mine.txt")
    with pytest.raises(NotADirectoryError):
        model().save(tmp_path / "other/mine.txt/m")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model().save(Path("."))
    assert SavedModel.load(tmp_path / "here").radius == 2.25


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    facts = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in facts.items() if v != "drop"}))


def bank(folder: Path, **banks: Any) -> None:
    save_file(banks, folder / "bank.safetensors")


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (lambda m: (m / "model.json").unlink(), "no model here"),
    (lambda m: (m / "bank.safetensors").unlink(), "damaged model"),
    (lambda m: (m / "model.json").write_text("{"), "damaged model"),
    (lambda m: (m / "model.json").write_bytes(b"\xff"), "damaged model"),
    (lambda m: (m / "model.json").write_text("[]"), "damaged model"),
    (lambda m: (m / "bank.safetensors").write_bytes(b"rubbish"), "damaged model"),
    (
        lambda m: (m / "bank.safetensors").write_bytes((m / "bank.safetensors").read_bytes()[:-3]),
        "damaged model",
    ),
    (lambda m: edit(m, format=2), "format 2; this version reads 1"),
    (lambda m: edit(m, rows="drop"), "damaged model"),
    (lambda m: edit(m, rows=["shared"]), "damaged model"),
    (lambda m: edit(m, rows={}), "do not belong together"),
    (lambda m: edit(m, rows={"shared": 6}), "model.json says (6, 4)"),
    (lambda m: edit(m, rows={"shared": 5, "bolt": 1}), "do not belong together"),
    (lambda m: edit(m, feature_dim="drop"), "damaged model"),
    (lambda m: edit(m, feature_dim=8), "model.json says (5, 8)"),
    (lambda m: edit(m, radius="far"), "damaged model"),
    (lambda m: edit(m, thresholds=[1]), "damaged model"),
    (lambda m: edit(m, calibration={"bolt": [float("nan")]}), "calibration score is not finite"),
    (lambda m: edit(m, calibration=[1.0]), "damaged model"),
    (lambda m: edit(m, categories=None), "damaged model"),
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


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no model here; expected model\.json"):
        SavedModel.load(tmp_path / "nowhere")
