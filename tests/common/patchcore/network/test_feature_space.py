"""The feature space: its fingerprint, its JSON and the grid it promises."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.config import Settings
from common.data.normalization import HALF, IMAGENET
from common.data.transforms import resized
from common.errors import InputError
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.feature_space import FeatureSpace

SPACE = FeatureSpace("resnet18", ("layer2", "layer3"), 3, 256, "float32", "imagenet", "ab12")


@cache
def extractor(layers: str) -> FeatureExtractor:
    return FeatureExtractor.from_settings(
        Settings(backbone="resnet18", weights="random", layers=layers, device="cpu")
    )


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    layers=st.sampled_from(["layer1", "layer2,layer3", "layer3"]),
)
@example((33, 47), "layer2,layer3")
@example((1, 1), "layer2,layer3")
@example((64, 96), "layer1")
def test_the_grid_is_that_of_the_network(size: tuple[int, int], layers: str) -> None:
    network = extractor(layers)
    assert network(torch.zeros(1, 3, *size)).shape[1:3] == network.space.patch_grid(size)


def test_grids_of_known_sizes() -> None:
    own = replace(SPACE, image_size=0)
    # Three halvings to layer2: 400 -> 200 -> 100 -> 50; 750 -> 375 -> 188 -> 94.
    assert own.patch_grid((400, 400)) == (50, 50)
    assert own.patch_grid((750, 1000)) == (94, 125)
    assert SPACE.patch_grid((400, 400)) == (32, 32)
    assert SPACE.patch_grid((1000, 750)) == (43, 32)  # seen at 341 x 256


@given(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), st.integers(32, 300))
def test_the_grid_follows_the_size_that_the_network_sees(
    size: tuple[int, int], image_size: int
) -> None:
    scaled = replace(SPACE, image_size=image_size)
    assert scaled.patch_grid(size) == replace(SPACE, image_size=0).patch_grid(
        resized(size, image_size)
    )


FIRST_FACTS = (
    *("backbone", "layers", "neighborhood_size", "image_size", "precision"),
    *("weights", "weights_sha256"),
)
CHANGES: dict[str, Any] = {
    "backbone": "resnet34",
    "layers": ("layer2",),
    "neighborhood_size": 5,
    "image_size": 0,
    "precision": "bfloat16",
    "weights_sha256": "cd34",
    "feature_norm": "l2",
    "family": "efficientnet_lite",
    "multiple": 14,
    "normalization": HALF,
}


def test_the_fingerprint_changes_with_every_fact_but_the_name_of_the_weights() -> None:
    # A ResNet's stride follows from its layers, and with another family it is a fact of its own.
    assert set(CHANGES) | {"weights", "stride"} == {field.name for field in fields(FeatureSpace)}
    other = replace(SPACE, family="timm")
    assert replace(other, stride=16).fingerprint != other.fingerprint
    changed = [replace(SPACE, **{key: value}).fingerprint for key, value in CHANGES.items()]
    assert len({SPACE.fingerprint, *changed}) == 1 + len(CHANGES)
    assert replace(SPACE, weights="local.pth").fingerprint == SPACE.fingerprint
    assert len(SPACE.fingerprint) == 64


def test_json_round_trip() -> None:
    facts = json.loads(json.dumps(SPACE.to_json()))
    assert FeatureSpace.from_json(facts) == SPACE
    assert facts["fingerprint"] == SPACE.fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": ["layer2"]}, "does not belong to the facts"),
        ({"fingerprint": "0"}, "fingerprint 0 does not belong"),
        ({"image_size": "big"}, "missing or unusable"),
        ({"layers": None}, "missing or unusable"),
    ],
)
def test_facts_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        FeatureSpace.from_json({**SPACE.to_json(), **change})
    with pytest.raises(InputError, match="'precision' is missing"):
        FeatureSpace.from_json({k: v for k, v in SPACE.to_json().items() if k != "precision"})


def test_a_space_in_one_line() -> None:
    assert SPACE.describe() == (
        "resnet18 layer2+layer3, 3x3 average, shorter side 256, float32, weights imagenet "
        f"[{SPACE.fingerprint[:12]}]"
    )
    assert "own image size" in replace(SPACE, image_size=0).describe()


def test_a_space_of_the_first_version_keeps_its_fingerprint() -> None:
    known = "facts of the first version: no family, no stride, no multiple, no normalization"
    facts = {name: SPACE.to_json()[name] for name in FIRST_FACTS}
    told = {**{k: v for k, v in facts.items() if k != "weights"}, "normalization": [*IMAGENET]}
    written = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    assert FeatureSpace.from_json({**facts, "fingerprint": written}) == SPACE, known


@given(st.tuples(st.integers(1, 500), st.integers(1, 500)), st.sampled_from([1, 14, 16, 32]))
def test_sides_become_the_nearest_multiple(size: tuple[int, int], multiple: int) -> None:
    seen = replace(SPACE, image_size=0, multiple=multiple).preparation.seen(size)
    for side, found in zip(size, seen, strict=True):
        candidates = range(multiple, 600, multiple)
        assert abs(found - side) == min(abs(other - side) for other in candidates)
        assert found % multiple == 0
