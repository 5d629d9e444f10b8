"""Tables of names: each name is usable, a new line is all that a new one takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.config import Settings
from common.data.partition import PARTITIONS
from common.errors import InputError
from common.patchcore import PatchCore
from common.patchcore.anomaly_map import AnomalyScorer
from common.patchcore.image_score import IMAGE_SCORES, find_image_score
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.names import check_names
from common.patchcore.network.architectures import BACKBONES
from server_app.aggregation import AGGREGATIONS

TABLES: list[tuple[str, dict[str, Any]]] = [
    ("partition", PARTITIONS),
    ("aggregation", AGGREGATIONS),
]


@pytest.mark.parametrize(("key", "table"), TABLES)
def test_what_is_offered_is_what_the_table_has(key: str, table: dict[str, Any]) -> None:
    for name in table:
        settings = Settings(**{key: name})
        assert check_names(settings) is settings
    with pytest.raises(InputError) as refused:
        check_names(Settings(**{key: "unheard-of"}))
    assert str(refused.value) == (
        f"setting {key}: found 'unheard-of', expected one of {', '.join(table)}"
    )


def test_image_scores_are_names_or_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.arange(101, dtype=np.float32).reshape(1, 101)
    monkeypatch.setitem(IMAGE_SCORES, "mean", lambda found: float(found.anomaly_map.mean()))
    patch = np.full((1, 1, 1), 7, dtype=np.float32)
    known = AnomalyScorer(MemoryBank(np.zeros((1, 1), np.float32))).evidence(patch, (1, 101))
    evidence = replace(known, anomaly_map=picture)
    for name, value in (
        ("max", 100.0),
        ("99.5", 99.5),
        ("0", 0.0),
        ("mean", 50.0),
        ("top-100", 50.0),
        ("reweighted", 7.0),  # of the patches, not of their map
    ):
        check_names(Settings(image_score=name))
        assert find_image_score(name)(evidence) == pytest.approx(value)
    wanted = (
        r"found 'median', expected max, reweighted, mean, top-P as \"top-1\" or a percentile as"
    )
    with pytest.raises(InputError, match=wanted):
        check_names(Settings(image_score="median"))


def test_backbones_are_those_of_the_table_auto_and_timms() -> None:
    for name in ("auto", *BACKBONES):
        settings = Settings(backbone=name)
        assert check_names(settings) is settings
    with pytest.raises(InputError) as refused:
        check_names(Settings(backbone="unheard-of"))
    assert str(refused.value) == (
        f"setting backbone: found 'unheard-of', expected one of auto, {', '.join(BACKBONES)}, or "
        "timm/NAME of a network of timm"
    )


def test_layers_are_the_backbones() -> None:
    lite = Settings(backbone="efficientnet_lite0", layers=" stage3 , stage5,")
    assert check_names(lite) is lite
    # With no backbone chosen, named layers are the default one's.
    check_names(Settings(layers="layer2"))
    for backbone, layers in (
        ("auto", "stage3"),
        ("efficientnet_lite0", "layer2"),
        ("resnet18", "layer3,layer2"),
        ("resnet18", "layer2,layer2"),
        ("resnet18", ","),
        ("resnet18", "auto,layer2"),
    ):
        with pytest.raises(InputError, match=r"setting layers: found .* from shallow to deep"):
            check_names(Settings(backbone=backbone, layers=layers))


def test_a_model_is_not_made_of_a_name_that_nothing_is_known_by() -> None:
    with pytest.raises(InputError, match="setting backbone: found 'vgg16', expected one of"):
        PatchCore(backbone="vgg16", weights="random")
