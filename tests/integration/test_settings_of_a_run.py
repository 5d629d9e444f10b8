"""Every setting changes what it is about, and nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from local_grid import Finished

from common.data.partition import PARTITIONS, IIDPartitioner
from common.errors import RunError
from common.patchcore.image_score import IMAGE_SCORES
from common.patchcore.network.architectures import BACKBONES
from common.patchcore.network.resnet import resnet
from common.patchcore.network.weights import expected_shapes, random_state
from server_app.aggregation import AGGREGATIONS

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

Run = Callable[..., Finished]


def outcome(done: Finished) -> dict[str, Any]:
    """What may depend on a setting, part by part."""
    metrics = {
        name: {k: v for k, v in told.items() if k not in ("method", "threshold")}
        for name, told in done.metrics.items()
    }
    return {
        "bank": hashlib.sha256(done.bank).hexdigest(),
        "metrics": metrics,
        "thresholds": {name: facts["value"] for name, facts in done.model["thresholds"].items()},
        "stations": {name: (s["status"], s["reason"]) for name, s in done.stations.items()},
        "rows_sent": [c["rows_sent"] for c in done.contributions.values()],
        "audit": done.run["audit"],
    }


BASE = {"partition": "dirichlet", "min_stations": 1}
DIVERSE = {"aggregation": "diversity_preserving"}
CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # on top of, changed, what must differ
    ({}, {"aggregation": "concatenate"}, "bank"),
    ({}, {"aggregation": "diversity_preserving", "min_station_share": 0.3}, "bank"),
    (DIVERSE, {"min_station_share": 0.33}, "bank"),
    ({}, {"weighted_by_samples": False}, "rows_sent"),
    ({}, {"oversample_factor": 1.0}, "rows_sent"),
    ({}, {"bank_scope": "category"}, "bank"),
    ({}, {"wire_dtype": "float32"}, "bank"),
    ({}, {"wire_dtype": "int8"}, "bank"),
    ({}, {"augment": "rotations"}, "bank"),
    ({}, {"augment": "light"}, "bank"),
    ({}, {"image_score": "90"}, "metrics"),
    ({}, {"image_score": "top-5"}, "thresholds"),
    ({}, {"image_score": "reweighted"}, "thresholds"),
    ({}, {"calibration_fraction": 0.0}, "bank"),
    ({"calibration_fraction": 0.6}, {"target_false_alarm_rate": 0.7}, "thresholds"),
    ({}, {"coreset_projection": 0}, "bank"),
    ({}, {"local_coreset_ratio": 0.02}, "rows_sent"),
    ({}, {"global_bank_size": 20}, "bank"),
    ({}, {"neighborhood_size": 1}, "bank"),
    ({}, {"feature_norm": "l2"}, "bank"),
    ({}, {"layers": "layer1,layer2"}, "bank"),
    ({}, {"backbone": "resnet34"}, "bank"),
    ({}, {"image_size": 48}, "bank"),
    ({}, {"precision": "bfloat16"}, "bank"),
    ({}, {"seed": 7}, "bank"),
    ({}, {"partition": "iid"}, "bank"),
    ({}, {"num_stations": 2}, "bank"),
    ({}, {"dirichlet_alpha": 100.0}, "bank"),
    ({}, {"num_server_rounds": 2}, "bank"),
    ({}, {"max_station_share": 0.4}, "rows_sent"),
    ({}, {"without": "station-1"}, "stations"),  # `on_suspicion`: see test_influence.py
    ({"calibration_fraction": 0.6}, {"audit_good": "off"}, "audit"),
]


@pytest.mark.parametrize(
    ("base", "change", "differs"),
    CHANGES,
    ids=[" ".join(f"{k}={v}" for k, v in change.items()) for _, change, _ in CHANGES],
)
def test_every_setting_changes_what_it_is_about(
    run: Run, base: dict[str, Any], change: dict[str, Any], differs: str
) -> None:
    before = outcome(known_run(run, {**BASE, **base}))
    after = outcome(run(**{**BASE, **base, **change}))
    assert after[differs] != before[differs]
    if differs in ("metrics", "thresholds"):
        assert after["bank"] == before["bank"]  # it is about judging, not about the bank


_known: dict[str, Finished] = {}


def known_run(run: Run, settings: dict[str, Any]) -> Finished:
    """Keep the runs that many are compared with."""
    key = repr(sorted(settings.items()))
    if key not in _known:
        _known[key] = run(**settings)
    return _known[key]


def test_weights_and_feature_space_keys(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    torch.save(random_state(expected_shapes("resnet18", ("layer2", "layer3")), 5), path)
    plain, other = run(), run(weights=str(path))
    assert plain.bank != other.bank
    fingerprint = other.run["feature_space"]["fingerprint"]
    assert run(weights=str(path), feature_space=fingerprint[:12]).bank == other.bank
    refused = run(feature_space=fingerprint)
    assert isinstance(refused.error, RunError)
    assert "no station is in the required feature-space" in refused.run["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"device": "auto"},
        {"batch_size": 1},
        {"num_workers": 3},
        {"round_timeout": 100},
        {"min_stations": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_how_it_is_computed_changes_no_byte(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    if change == {"device": "auto"} and torch.cuda.is_available():
        pytest.skip("auto is a GPU here, whose features are close to the CPU's, not equal")
    expected = outcome(known_run(run, {}))
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cold"))
    done = run(**change)
    assert done.extracted == 26
    assert outcome(done) == expected


def test_a_line_in_a_table_of_names_is_all_that_a_new_one_needs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last_rows(banks: Any, weights: Any, size: int, **how: Any) -> Any:
        total = sum(map(len, banks))
        return np.arange(max(0, total - size), total, dtype=np.int64)

    monkeypatch.setitem(AGGREGATIONS, "last_rows", last_rows)
    monkeypatch.setitem(PARTITIONS, "even", lambda stations, *_: IIDPartitioner(stations))
    monkeypatch.setitem(BACKBONES, "mine", resnet("resnet34", "resnet34.pth", bottleneck=False))
    monkeypatch.setitem(IMAGE_SCORES, "zero", lambda evidence: 0.0)
    done = run(aggregation="last_rows", partition="even", backbone="mine", image_score="zero")
    assert done.error is None
    assert done.run["feature_space"]["backbone"] == "mine"
    # Of each part a station sends 2 x size x its share of the images, at most half its patches;
    # the last `size` rows of all are taken: those of the last stations.
    stations = [done.contributions[f"station-{n}"] for n in range(3)]
    expected = [0, 0, 0]
    for part, share in done.model["shares"].items():
        left, told = share["rows"], [station["categories"].get(part) for station in stations]
        images = sum(own["images"] for own in told if own)
        for n in (2, 1, 0):
            if own := told[n]:
                sent = math.ceil(2 * share["rows"] * own["images"] / images)
                taken = min(left, sent, math.ceil(own["patches"] / 2))
                expected[n], left = expected[n] + taken, left - taken
        assert left == 0
    chosen = [station["rows_chosen"] for station in stations]
    assert chosen == expected
    assert chosen[0] < chosen[1] < chosen[2]
    assert sum(chosen) == 40
    assert {told["classification"]["auc_roc"] for told in done.metrics.values()} == {0.5}
