"""Surveys, rosters and plans for the tests of the server."""

from __future__ import annotations

from typing import Any

from common.config import Settings
from common.patchcore.network.feature_space import FeatureSpace
from common.protocol.messages import CategoryCounts, SizeCount, SpaceFacts, SurveyReply
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


def counts(images: int, patches: int, *, held_out: int = 1, test: int = 2) -> CategoryCounts:
    """Images of one row of patches each, as layer2's grid of 8 pixels gives them; tests of 8x8."""
    told = []
    if images:
        # All alike but for one, which has what is left.
        each = patches // images
        last = patches - each * (images - 1)
        widths = {each: images - 1, last: 1} if last != each else {each: images}
        told = [
            SizeCount(height=8, width=8 * wide, images=many)
            for wide, many in widths.items()
            if many
        ]
    return CategoryCounts(
        images=images,
        patches=patches,
        held_out=held_out,
        test=test,
        sizes=told,
        test_sizes=[SizeCount(height=8, width=8, images=test)] if test else [],
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
            name: counts(images, patches, held_out=held_out, test=test)
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
