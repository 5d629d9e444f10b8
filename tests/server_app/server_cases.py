"""Surveys, rosters and plans for the tests of the server."""

from __future__ import annotations

from typing import Any

from common.config import Settings
from common.messages import CategoryCounts, SpaceFacts, SurveyReply
from common.patchcore.feature_space import FeatureSpace
from server_app.roster import Participant, Roster

RESNET18_DIM = 384
"""Channels of layer2 and layer3: 128 + 256."""


def space(weights: str = "a") -> FeatureSpace:
    return FeatureSpace(
        backbone="resnet18",
        layers=("layer2", "layer3"),
        neighborhood_size=3,
        image_size=0,
        precision="float32",
        weights=f"file {weights}",
        weights_sha256=weights * 64,
    )


def survey(
    station: str,
    categories: dict[str, tuple[int, int]] | None = None,
    *,
    weights: str = "a",
    held_out: int = 1,
    test: int = 2,
    **changes: Any,
) -> SurveyReply:
    """`categories`: name -> (images, patches)."""
    facts: dict[str, Any] = {
        "station": station,
        "real": False,
        "synthetic": True,
        "host": "here",
        "categories": {
            name: CategoryCounts(images=images, patches=patches, held_out=held_out, test=test)
            for name, (images, patches) in (categories or {"screw": (10, 1000)}).items()
        },
        "feature_space": SpaceFacts(**space(weights).to_json()),
        "feature_dim": RESNET18_DIM,
        "notices": [],
    }
    return SurveyReply(**{**facts, **changes})


def settings(**changes: Any) -> Settings:
    return Settings(**{"backbone": "resnet18", "weights": "random", **changes})


def roster(*surveys: SurveyReply, **changes: Any) -> Roster:
    """Node numbers run against the order given."""
    return Roster(
        settings(**changes),
        {
            100 - number: Participant(100 - number, survey=reply)
            for number, reply in enumerate(surveys)
        },
    )
