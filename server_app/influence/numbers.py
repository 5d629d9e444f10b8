"""One station in one category: what its rows and its words change, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.evaluation.merged_threshold import merged_value
from server_app.influence.gathered import SERVER, Place
from server_app.influence.limits import FEWEST_COMPARED, HIDDEN, HIDDEN_BEYOND
from server_app.influence.support import Support

Scores = NDArray[np.float64]
_HELD, _GOOD, _BAD = "held-out", "good", "defective"
_NONE: Final = np.zeros(0)


@dataclass(frozen=True)
class Rise:
    """How much higher scores are without a station's rows: shares of what they are with them."""

    images: int
    median: float
    largest: float

    @classmethod
    def of(cls, rises: Scores) -> Rise | None:
        """None without images."""
        if not rises.size:
            return None
        return cls(rises.size, float(np.median(rises)), float(rises.max()))


@dataclass(frozen=True)
class Rates:
    """Test images above the threshold: with a station, and without its rows and scores."""

    defective: int
    found: int
    found_without: int
    good: int
    false_alarms: int
    false_alarms_without: int


@dataclass(frozen=True)
class Ranks:
    """A station's held-out scores against those of the others.

    Attributes
    ----------
    images, others : int
    ratio : float or None
        Of the medians.
    of_largest : float or None
        Its median in the others' largest score.
    higher : float
        Share of comparisons in which its score is the higher one; a tie counts half.
    p_value : float
        Of the rank test, two-sided.
    above_threshold : float or None
        Share of its scores above the threshold that the others' give.
    largest : float
        Its largest score.
    """

    images: int
    others: int
    ratio: float | None
    of_largest: float | None
    higher: float
    p_value: float
    above_threshold: float | None
    largest: float


@dataclass(frozen=True)
class CategoryNumbers:
    """What one station does in one category; what is not known is None.

    Attributes
    ----------
    rows, holders : int
        Rows of the category's bank that it brought, and how many stations brought some.
    share : float
        Of the category's rows.
    threshold, threshold_without_scores, threshold_without : float or None
        The merged one; without its held-out scores; without its rows as well.
    rise_others, rise_own : Rise or None
        Of held-out scores without its rows: the others', and its own.
    rise_defects : Rise or None
        Of the others' defective test images.
    hidden, hidden_besides : int
        Of these, how many lie clearly farther from the bank without its rows, unlike good parts;
        and how many of them besides those of the one station that tells of most.
    rates_others, rates_own : Rates or None
        On the others' test images, and on its own.
    used, used_by_itself : float or None
        Share of the patches of the others' (its own) held-out images that have their nearest row
        from it, in its share of the rows: 1 is what rows of everybody's parts would have. Of the
        others the median station counts: none of them decides alone.
    expected : float
        Patches of the others' held-out images that would use its rows by their share.
    support : Support or None
    ranks : Ranks or None
    """

    rows: int
    holders: int
    share: float
    threshold: float | None
    threshold_without_scores: float | None
    threshold_without: float | None
    rise_others: Rise | None
    rise_own: Rise | None
    rise_defects: Rise | None
    hidden: int
    hidden_besides: int
    rates_others: Rates | None
    rates_own: Rates | None
    used: float | None
    used_by_itself: float | None
    expected: float
    support: Support | None
    ranks: Ranks | None

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


def category_numbers(
    station: str,
    places: Mapping[str, Place],
    columns: Sequence[str],
    owners: NDArray[np.str_],
    support: Support | None,
    rate: float,
    *,
    fenced: bool = False,
) -> CategoryNumbers:
    """Say what a station does in a category.

    Parameters
    ----------
    station : str
    places : mapping of station to Place
        Everybody that judged images of the category.
    columns : sequence of str
        Whose rows judge it, in the order of `OwnerScores`.
    owners : array of shape (m,)
        Who brought each row of the category; of none where it has no bank.
    support : Support or None
    rate : float
        `target-false-alarm-rate`.
    fenced : bool
        As in `merge_thresholds`.
    """
    rows = int((owners == station).sum())
    share = rows / len(owners) if len(owners) else 0.0
    column = columns.index(station) if station in columns else None
    # Who brought no row changes nothing; of who did nobody may have been asked.
    asked = column is not None or not rows
    others = {name: place for name, place in places.items() if name != station}
    own = {station: places[station]} if station in places else {}
    held = {name: place.scores[_HELD].tolist() for name, place in places.items()}
    held_others = {name: scores for name, scores in held.items() if name != station}
    threshold = merged_value(held, rate, fenced=fenced)
    without_scores = merged_value(held_others, rate, fenced=fenced)
    left = {name: place.without_owner(_HELD, column) for name, place in others.items()}
    known = {name: scores.tolist() for name, scores in left.items() if scores is not None}
    without = (
        merged_value(known, rate, fenced=fenced) if asked and len(known) == len(left) else None
    )
    hidden, besides = _hidden(others, column)
    return CategoryNumbers(
        rows=rows,
        holders=len(np.unique(owners)),
        share=share,
        threshold=threshold,
        threshold_without_scores=without_scores,
        threshold_without=without,
        rise_others=Rise.of(_rises(others, _HELD, column)),
        rise_own=Rise.of(_rises(own, _HELD, column)),
        rise_defects=Rise.of(_rises(others, _BAD, column)),
        hidden=hidden,
        hidden_besides=besides,
        rates_others=_rates(others, column, threshold, without),
        rates_own=_rates(own, column, threshold, without),
        used=_used(others, column, share),
        used_by_itself=_used(own, column, share),
        expected=share * _patches(others),
        support=support,
        ranks=_ranks(held.get(station, []), held_others, without_scores),
    )


def _rises(places: Mapping[str, Place], kind: str, column: int | None) -> Scores:
    found = [_NONE]
    for _, place in sorted(places.items()):
        before, after = place.scores[kind], place.without_owner(kind, column)
        if after is not None and column is not None:
            positive = before > 0
            found.append(after[positive] / before[positive] - 1)
    return np.concatenate(found)


def _hidden(places: Mapping[str, Place], column: int | None) -> tuple[int, int]:
    good = np.concatenate([_rises(places, _HELD, column), _rises(places, _GOOD, column)])
    usual = float(np.quantile(good, 0.9)) if good.size else 0.0
    limit = max(HIDDEN, HIDDEN_BEYOND * usual)
    told = {n: int((_rises({n: p}, _BAD, column) > limit).sum()) for n, p in places.items()}
    # The server's own word needs nobody else's.
    most = max((count for name, count in told.items() if name != SERVER), default=0)
    return sum(told.values()), sum(told.values()) - most


def _rates(
    places: Mapping[str, Place],
    column: int | None,
    threshold: float | None,
    without: float | None,
) -> Rates | None:
    if threshold is None or without is None:
        return None
    counts = []
    for kind in (_BAD, _GOOD):
        before = np.concatenate([_NONE, *(place.scores[kind] for place in places.values())])
        left = [place.without_owner(kind, column) for place in places.values()]
        if any(scores is None for scores in left):
            return None
        after = np.concatenate([_NONE, *(scores for scores in left if scores is not None)])
        counts += [before.size, int((before > threshold).sum()), int((after > without).sum())]
    return Rates(*counts) if counts[0] + counts[3] else None


def _patches(places: Mapping[str, Place]) -> int:
    return sum(int(p.without.nearest.sum()) for p in places.values() if p.without is not None)


def _used(places: Mapping[str, Place], column: int | None, share: float) -> float | None:
    if column is None or not share:
        return None
    told = [p.without.nearest for p in places.values() if p.without is not None]
    uses = [float(nearest[column] / nearest.sum()) for nearest in told if nearest.any()]
    return float(np.median(uses)) / share if uses else None


def _ranks(
    own: Sequence[float], others: Mapping[str, Sequence[float]], threshold: float | None
) -> Ranks | None:
    rest = _balanced(others)
    if not own or not rest:
        return None
    from scipy import stats

    test = stats.mannwhitneyu(own, rest, alternative="two-sided")
    median, usual, most = float(np.median(own)), float(np.median(rest)), max(rest)
    return Ranks(
        images=len(own),
        others=len(rest),
        ratio=median / usual if usual > 0 else None,
        of_largest=median / most if most > 0 else None,
        higher=float(test.statistic) / (len(own) * len(rest)),
        p_value=float(test.pvalue),
        above_threshold=None
        if threshold is None
        else sum(score > threshold for score in own) / len(own),
        largest=max(own),
    )


def _balanced(scores: Mapping[str, Sequence[float]]) -> list[float]:
    """Scores of several stations, of none far more than of the others.

    Who says that he held out a hundred thousand images must not be whom all others are against.
    """
    most = max(FEWEST_COMPARED, int(np.median([len(own) for own in scores.values() if own] or [0])))
    found: list[float] = []
    for own in scores.values():
        places = np.linspace(0, len(own) - 1, min(most, len(own)))
        found += np.sort(own)[places.round().astype(int)].tolist()
    return found
