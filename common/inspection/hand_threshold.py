"""A threshold that a person sets: what it promises, who set it and why, in the model itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from common.errors import InputError
from common.evaluation.thresholds import percent
from common.patchcore.model_store import SavedModel, StationCalibration

Facts = dict[str, Any]

LONGEST_REASON: Final = 500
_SET: Final = "thresholds_set"
_MOST_KEPT: Final = 200


@dataclass(frozen=True)
class HandSet:
    """A model with a threshold set by hand.

    Attributes
    ----------
    model : SavedModel
    value : float
    previous : float or None
        The threshold before; of a station alone, its own.
    sentence : str
        What the new one means, by the calibration's scores.
    """

    model: SavedModel
    value: float
    previous: float | None
    sentence: str


def set_threshold(
    model: SavedModel,
    category: str,
    value: float,
    *,
    reason: str,
    by: str,
    station: str | None = None,
    merged: bool = True,
) -> HandSet:
    """Set the threshold of a category by hand.

    Parameters
    ----------
    model : SavedModel
        Not changed.
    category : str
    value : float
        An image is anomalous if its score, a Euclidean distance, is above.
    reason, by : str
        Why and by whom: kept with the threshold, beside when and the value before.
    station : str, optional
        Set this station's own threshold, where the model has one.
    merged : bool
        Set that of all stations together, too.

    Returns
    -------
    HandSet
        Its model keeps all earlier ones under `thresholds_set` in its provenance, too.

    Raises
    ------
    InputError
        If the model does not know category or station, the value is no distance above 0, or the
        reason is empty or longer than 500 characters.

    Notes
    -----
    The promise is what the calibration's scores support: with k of n above the value, a new good
    part exceeds it with probability (k + 1) / (n + 1) at most (see `calibrate_threshold`). That
    holds for a value that was chosen without looking at these scores; who looks for one among them
    promises himself a little too much. Without calibration scores nothing is promised.
    """
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"--value {value}: expected a distance above 0")
    reason = reason.strip()
    if not reason or len(reason) > LONGEST_REASON:
        raise InputError(
            f"--reason has {len(reason)} characters; say in 1 to {LONGEST_REASON} why the "
            "threshold is changed"
        )
    return replaced(
        model,
        category,
        lambda _, scores: _facts(value, scores),
        reason=reason,
        by=by,
        station=station,
        merged=merged,
    )


def replaced(
    model: SavedModel,
    category: str,
    facts_of: Callable[[Facts | None, Sequence[float]], Facts],
    *,
    reason: str,
    by: str,
    station: str | None,
    merged: bool,
    scores: Sequence[float] | None = None,
) -> HandSet:
    """Replace the thresholds of a category, and keep who did it and why; see `set_threshold`.

    Parameters
    ----------
    facts_of : callable (threshold before, calibration scores) -> facts
        The new one.
    scores : sequence of float, optional
        Calibration scores that take the place of the old ones.
    """
    known = set(model.categories) | set(model.thresholds)
    if category not in known:
        raise InputError(
            f"--category {category}: the model does not know it; it knows "
            f"{', '.join(sorted(known)) or 'no category by name'}"
        )
    stations, thresholds = dict(model.stations), dict(model.thresholds)
    calibration, when = dict(model.calibration), datetime.now(UTC).isoformat(timespec="seconds")
    if station is not None and station not in stations and not merged:
        raise InputError(
            f"--station {station}: the model knows no such station; it knows "
            f"{', '.join(sorted(stations)) or 'none'}"
        )
    told: list[tuple[str | None, Facts]] = []
    # A delivered model has the station's own scores alone, and none of the others'.
    at_hand = stations[station].calibration.get(category, ()) if station in stations else ()

    def made(before: Facts | None, own: dict[str, list[float]], whose: str | None) -> Facts:
        if scores is not None:
            own[category] = sorted(scores)
        previous = None if before is None else float(before["value"])
        facts = facts_of(before, own.get(category) or at_hand)
        facts |= {"previous": previous, "reason": reason, "by": by, "when": when}
        told.append((whose, facts))
        return facts

    if merged:
        thresholds[category] = made(thresholds.get(category), calibration, None)
    if station is not None and station in stations:
        own = stations[station]
        before, own_scores = own.thresholds.get(category), dict(own.calibration)
        if not merged or before is not None:
            facts = made(before, own_scores, station)
            stations[station] = StationCalibration({**own.thresholds, category: facts}, own_scores)
    earlier = model.provenance.get(_SET, [])
    earlier = list(earlier) if isinstance(earlier, list) else []
    records = [
        {"category": category, "value": facts["value"], "previous": facts["previous"]}
        | {"station": whose, "reason": reason, "by": by, "when": when}
        for whose, facts in told
    ]
    changed = replace(
        model,
        thresholds=thresholds,
        calibration=calibration,
        stations=stations,
        provenance={**model.provenance, _SET: [*earlier, *records][-_MOST_KEPT:]},
    )
    last = told[-1][1]
    return HandSet(changed, float(last["value"]), last["previous"], str(last["note"]))


def _facts(value: float, scores: Sequence[float]) -> Facts:
    """What the calibration's scores say of a value."""
    images, above = len(scores), sum(score > value for score in scores)
    promised = (above + 1) / (images + 1)
    what = "1 held-out good image" if images == 1 else f"{images} held-out good images"
    if not images:
        note = "Set by hand. No held-out score is kept, so nothing is promised."
    elif promised >= 1:
        note = f"Set by hand below the scores of all {what}: nothing is promised."
    else:
        note = (
            f"Set by hand. Of {what} {above} lie above it: of good parts like these "
            f"{percent(promised)} are judged anomalous at most, on average."
        )
    return {
        "value": float(value),
        "target_false_alarm_rate": promised,
        "promised_false_alarm_rate": promised,
        "held_out_images": images,
        "note": note,
    }
