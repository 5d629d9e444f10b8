"""The local method: every station by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.config import Settings
from common.data.holdout import split_holdout
from common.data.layout import DataIndex
from common.data.partition import make_partition
from common.evaluation import ExactEvaluation, load_metrics
from common.evaluation.judge import judge
from common.patchcore import PatchCore
from common.runs.local import run_local

pytestmark = pytest.mark.usefixtures("plain_files")


@pytest.mark.parametrize("scope", ["shared", "category"])
def test_local_is_each_station_by_itself(scope: str, index: DataIndex, tmp_path: Path) -> None:
    """A slow twin: fit each station's bank by hand and pool the maps exactly."""
    settings = Settings(
        backbone="resnet18", weights="random", global_bank_size=60, num_workers=0, device="cpu",
        num_stations=2, partition="iid", bank_scope=scope, data_root=str(index.root),
    )  # fmt: skip
    run_local(settings, index, tmp_path / "local")
    found = load_metrics(tmp_path / "local")["local"]
    made = make_partition(index.samples, "iid", 2, settings.seed)
    evaluations = {name: ExactEvaluation() for name in index.categories}
    held_out_scores: dict[str, list[float]] = {name: [] for name in index.categories}
    for own in ([index.samples[i] for i in part] for part in made.indices.values()):
        train = [one for one in own if one.split == "train"]
        bank, held_out = split_holdout(train, settings.calibration_fraction)
        for name in index.categories:
            model = PatchCore(settings)
            mine = [
                {"image": one.path, "category": one.category}
                for one in bank
                if scope == "shared" or one.category == name
            ]
            model.fit(mine)
            test = [one for one in own if one.split == "test" and one.category == name]
            judge(model, index, name, test, (), lambda name=name: evaluations[name])
            later = [one.path for one in held_out if one.category == name]
            held_out_scores[name] += [p.score for p in model.predict(later)]
    for name, evaluation in evaluations.items():
        exact = evaluation.compute().overall
        spro = found[name]["localization"]["auc_spro"]
        bound = found[name]["evaluation"]["auc_error_bound"]
        for limit, value in exact.auc_spro.items():
            assert abs(spro[str(limit)] - value) <= bound[str(limit)] + 1e-6
        assert found[name]["classification"]["auc_roc"] == pytest.approx(exact.auc_roc)
        assert found[name]["counts"]["images"] == len(index.select("test", name))
        assert found[name]["threshold"]["held_out_images"] == len(held_out_scores[name])
    run = json.loads((tmp_path / "local" / "run.json").read_text())
    assert run["method"] == "local"
    assert run["bytes"] == {"up": 0, "down": 0}
    assert [one["name"] for one in run["stations"]] == list(made.names)
    assert run["bank"]["scope"] == scope
    assert sum(run["bank"]["rows"].values()) > 0
    assert not (tmp_path / "local" / "model").exists()


def test_what_no_bank_can_judge_is_named(index: DataIndex, tmp_path: Path) -> None:
    settings = Settings(
        backbone="resnet18", weights="random", global_bank_size=60, num_workers=0, device="cpu",
        num_stations=4, partition="dirichlet", dirichlet_alpha=0.05, bank_scope="category",
        calibration_fraction=0.0, data_root=str(index.root), seed=1,
    )  # fmt: skip
    made = make_partition(index.samples, "dirichlet", 4, 1, 0.05)
    unjudged = 0
    for part in made.indices.values():
        own = [index.samples[i] for i in part]
        trained = {one.category for one in own if one.split == "train"}
        unjudged += sum(one.split == "test" and one.category not in trained for one in own)
    record = run_local(settings, index, tmp_path / "local")
    judged = sum(one.result.overall.counts["images"] for one in record.evaluated)
    assert judged == len(index.select("test")) - unjudged
    assert (unjudged > 0) == any("were not judged" in notice for notice in record.notices)
