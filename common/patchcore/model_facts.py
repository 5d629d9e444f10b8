"""What `model.json` says, fact by fact: of the right kind, and possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.patchcore.distances import Distances
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.shares import Share


def read_radii(facts: dict[str, Any], banks: Iterable[str]) -> dict[str, float]:
    """A radius per bank; the first version kept one alone, which then holds for all."""
    one = facts["radius"]
    found = facts.get("radii", {} if one is None else dict.fromkeys(banks, one))
    radii = {str(name): float(radius) for name, radius in found.items()}
    if not (set(radii) <= set(banks) and all(0 <= own < np.inf for own in radii.values())):
        raise ValueError(f"radii are {radii}; expected distances, of banks that are there")
    return radii


def read_shares(facts: dict[str, dict[str, Any]], found: int) -> dict[str, Share]:
    """Shares of a shared bank of `found` rows."""
    shares = {
        str(name): Share(int(own["rows"]), None if own["radius"] is None else float(own["radius"]))
        for name, own in facts.items()
    }
    if not shares:
        return shares
    told = sum(own.rows for own in shares.values())
    if told > found or not all(
        own.rows >= 1 and (own.radius is None or 0 <= own.radius < np.inf)
        for own in shares.values()
    ):
        raise ValueError(
            f"shares of {told} rows in all, of a shared bank of {found}; expected at least one row "
            "a category, no more than there are, and distances"
        )
    return shares


def read_scores(facts: dict[str, list[float]]) -> dict[str, list[float]]:
    """Scores of each category, ascending, as finite numbers."""
    for name, own in facts.items():
        for score in own:
            if isinstance(score, float) and not math.isfinite(score):
                raise ValueError(f"a calibration score is not finite ({name}: {score})")
            if not _is_number(score):
                raise ValueError(f"a calibration score of {name} is {score!r}; expected a number")
    return {str(name): sorted(map(float, own)) for name, own in facts.items()}


def read_thresholds(
    facts: dict[str, dict[str, Any]], calibration: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, Any]]:
    """Thresholds as finite numbers, each one of the scores that it rests on, or with a reason."""
    for name, own in facts.items():
        value, scores = own["value"], calibration.get(name, ())
        if not _is_number(value):
            raise ValueError(f"the threshold of {name} is {value!r}; expected a number")
        if scores and value not in scores and not own.get("reason"):
            raise ValueError(
                f"the threshold of {name} is {value}, none of the {len(scores)} scores that it "
                "rests on, and no reason is told"
            )
    return dict(facts)


def read_selection(facts: dict[str, Any] | None) -> Distances | None:
    """The space of the coreset's distances."""
    if facts is None:
        return None
    found = Distances(int(facts["components"]), int(facts["seed"]))
    if found.components < 0 or found.seed < 0:
        raise ValueError(f"coreset_projection is {facts}; expected numbers from 0 on")
    return found


def read_space(path: Path, facts: dict[str, Any]) -> FeatureSpace:
    """The feature space; an error names the file."""
    try:
        return FeatureSpace.from_json(facts)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _is_number(value: object) -> bool:
    """Text that reads like a number is none: somebody's hand has been there."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value)  # type: ignore[arg-type]
