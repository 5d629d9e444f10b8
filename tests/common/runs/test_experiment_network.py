"""A resumed experiment never changes its network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.config import Settings
from common.errors import InputError
from common.runs.experiment_network import with_network_of

LITE = {"backbone": "efficientnet_lite0", "layers": "stage3,stage5", "weights": "imagenet"}
WIDE = {"backbone": "wide_resnet50_2", "layers": "layer2,layer3", "weights": "imagenet"}


def done(out: Path, name: str, network: dict[str, str]) -> None:
    (out / "runs" / name).mkdir(parents=True)
    (out / "runs" / name / "run.json").write_text(json.dumps({"settings": network}))


def test_the_network_of_earlier_runs_is_kept(tmp_path: Path) -> None:
    assert with_network_of(tmp_path, Settings()) == Settings()
    done(tmp_path, "a", LITE)
    done(tmp_path, "b", LITE)
    done(tmp_path, "cut", {})
    (tmp_path / "runs/cut/run.json").write_text("{")
    kept = with_network_of(tmp_path, Settings(seed=7))
    assert kept == Settings(seed=7, **LITE)
    # Whoever chooses is asked no further.
    for chosen in (Settings(backbone="resnet18"), Settings(weights="random")):
        assert with_network_of(tmp_path, chosen) == chosen


def test_runs_of_two_networks_are_not_gone_on_with(tmp_path: Path) -> None:
    done(tmp_path, "a", LITE)
    done(tmp_path, "b", WIDE)
    with pytest.raises(InputError, match=r"efficientnet_lite0 .* and wide_resnet50_2 .*new folder"):
        with_network_of(tmp_path, Settings())
