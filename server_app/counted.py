"""How many images of each station count: its word, bounded by what it could be.

Weights, budgets and the sizes of the banks go by the number of training images. A station that
claims ten million of them would have the whole bank, so its word counts up to what its
registration or its earlier runs allow, and nobody counts for more than `max-station-share` of what
counts in all, or in a category, where three or more share it: with two there is no telling who of
them is the large one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.plant.server.allowances import Allowance
from common.protocol.messages import SurveyReply

FEWEST: Final = 3
"""From so many on a share is capped."""


@dataclass(frozen=True)
class Counted:
    """What counts.

    Attributes
    ----------
    images : dict of station to dict of category to float
        Training images that count within each category: the stations' weights there. No integers
        where a station was cut.
    totals : dict of category to float
        What the categories count for among each other: the sizes of their banks.
    stations : dict of station to float
        What each station counts for in all.
    cuts : list of str
        Who was cut, from what to what and why.
    told : dict of station to float
        What each says that it has, in all.

    Notes
    -----
    Two tables, because a cap on a station's share of everything must not lower it within a part
    where it is one of many: that would raise the share of whoever else holds it.
    """

    images: dict[str, dict[str, float]] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    stations: dict[str, float] = field(default_factory=dict)
    cuts: list[str] = field(default_factory=list)
    told: dict[str, float] = field(default_factory=dict)


def counted_images(
    surveys: Mapping[str, SurveyReply],
    most_share: float,
    allowed: Mapping[str, Allowance] | None = None,
) -> Counted:
    """Bound what stations say of their training images.

    Parameters
    ----------
    surveys : mapping of station to SurveyReply
    most_share : float
        `max-station-share`, above 0 and at most 1.
    allowed : mapping of station to Allowance, optional
        Of those whose registration or earlier runs say something.

    Returns
    -------
    Counted
        In order of station name.
    """
    names = sorted(surveys)
    told = {
        name: {c: float(counts.images) for c, counts in surveys[name].categories.items()}
        for name in names
    }
    counted = {name: dict(own) for name, own in told.items()}
    reasons: dict[str, list[str]] = {name: [] for name in names}
    for name, allowance in (allowed or {}).items():
        total = sum(counted.get(name, {}).values())
        if total > allowance.images:
            factor = allowance.images / total
            counted[name] = {c: count * factor for c, count in counted[name].items()}
            reasons[name].append(allowance.why)
    share = f"max-station-share is {100 * most_share:.3g} %"
    categories = sorted({c for own in counted.values() for c in own})
    for category in categories:
        held = {name: counted[name][category] for name in names if counted[name].get(category)}
        for name, count in _cut(held, most_share).items():
            counted[name][category] = count
            reasons[name].append(f"{share} of {category}")
    stations = {name: sum(own.values()) for name, own in counted.items()}
    cut = _cut({name: count for name, count in stations.items() if count}, most_share)
    for name in cut:
        reasons[name].append(share)
    parts = {name: cut[name] / stations[name] if name in cut else 1.0 for name in names}
    totals = {c: sum(counted[name].get(c, 0.0) * parts[name] for name in names) for c in categories}
    stations |= cut
    cuts = [
        f"{name} counts for {stations[name]:.0f} of the {sum(told[name].values()):.0f} training "
        f"images that it says it has: {'; '.join(reasons[name])}"
        for name in names
        if reasons[name]
    ]
    return Counted(
        counted, totals, stations, cuts, {name: sum(own.values()) for name, own in told.items()}
    )


def capped(counts: NDArray[np.float64], most_share: float) -> NDArray[np.float64]:
    """Lower the largest counts until none is more than a share of their sum.

    Parameters
    ----------
    counts : array of shape (n,)
        Positive.
    most_share : float

    Returns
    -------
    array of shape (n,)
        `min(count, c)` for the largest `c` that does it; below a share of 1 / n all are equal.

    Examples
    --------
    Half of all, where the others have 30 together, is 30.

    >>> import numpy as np
    >>> from server_app.counted import capped
    >>> capped(np.array([10.0, 1e7, 20.0]), 0.5).tolist()
    [10.0, 30.0, 20.0]
    """
    if most_share * len(counts) <= 1:
        return np.full_like(counts, counts.min())
    descending = np.sort(counts)[::-1]
    for cut in range(len(counts)):
        rest = descending[cut:].sum()
        # With `cut` of them at c, c is the share of cut x c + rest.
        limit = most_share * rest / (1 - cut * most_share) if cut * most_share < 1 else 0.0
        if descending[cut] <= limit or np.isclose(descending[cut], limit):
            return np.minimum(counts, limit) if cut else counts
    return np.full_like(counts, counts.min())


def _cut(held: Mapping[str, float], most_share: float) -> dict[str, float]:
    """What stations count for that would be above the share; nobody where fewer than three are."""
    if len(held) < FEWEST:
        return {}
    before = np.array(list(held.values()))
    after = capped(before, most_share)
    return {
        name: float(limit)
        for name, count, limit in zip(held, before, after, strict=True)
        if limit < count
    }
