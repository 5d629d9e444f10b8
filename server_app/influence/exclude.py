"""`on-suspicion = "exclude"`: a station under quarantine loses its rows and its say.

All that is needed is there: every place has said what its images would score without the rows of
any one station. So nobody is asked again, and what the scores alone do not tell is left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from common.evaluation import EvaluationCounts, StationScores
from common.evaluation.mergeable.owner_scores import KINDS
from common.patchcore.model_store import bank_of
from server_app.influence.assess import Influence
from server_app.influence.gathered import SERVER, Place
from server_app.outcome import GlobalBank, Outcome


@dataclass(frozen=True)
class Exclusion:
    """What was done.

    Attributes
    ----------
    stations : tuple of str
        Who is out.
    pixels : dict of category to str
        Why there is no figure that counts pixels; of categories that they touched in no way
        nothing is missing.
    """

    stations: tuple[str, ...] = ()
    pixels: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def exclude(outcome: Outcome, influence: Influence) -> Exclusion:
    """Take the stations under quarantine out of what a run found.

    Parameters
    ----------
    outcome : Outcome
        Changed: the banks are without their rows, held-out and test scores are those that the
        others have without these rows, and they count as refused.
    influence : Influence

    Returns
    -------
    Exclusion
        Empty if nobody is under quarantine.

    Notes
    -----
    The scores without two stations at once are known to nobody. Where several are under
    quarantine the banks are without all of their rows, and there is neither a threshold nor any
    rate: another run without them has both (`plant run --without`).
    """
    names = influence.quarantined
    if not names:
        return Exclusion()
    told = ", ".join(names)
    if len(names) == len(outcome.planned):
        return Exclusion(notices=[f"nobody was excluded: all stations, {told}, are in quarantine"])
    for participant in outcome.roster.all():
        if participant.name in names and participant.survey is not None:
            sentence = influence.stations[participant.name].sentence
            participant.leave("refused", f"excluded after the scores, on-suspicion: {sentence}")
            participant.rows_chosen = 0
    every = sorted({*outcome.gathered.places, *outcome.counts})
    touched = [category for category in every if _touched(outcome, category, names)]
    _take_rows(outcome, names)
    exactly = outcome.roster.settings.image_score != "reweighted"
    asked = influence.unknown is None and not set(influence.not_asked) - set(names)
    known = len(names) == 1 and asked and exactly
    for category in touched:
        _rescore(outcome, category, names[0] if known else None)
    again = " ".join(f"--without {name}" for name in names)
    why_not = (
        f"{told} was excluded after the scores: the anomaly maps had been drawn with its rows, "
        f"and only image scores are known without them; `plant run {again}` measures anew"
    )
    notices = [
        f"{told} excluded after the scores (on-suspicion=exclude): the bank is without its rows, "
        "thresholds and counts of images are those without its rows and its images; what counts "
        "pixels is left out, and how far the training images lie from the bank is not known"
    ]
    if not known:
        why = "several stations at once" if len(names) > 1 else "that"
        why = why if exactly or len(names) > 1 else "that (image-score reweighted)"
        notices = [
            f"{told} excluded after the scores (on-suspicion=exclude): the bank is without these "
            f"rows. What images score without {why} is not known, so there is no threshold and no "
            f"rate: run again with `plant run {again}`"
        ]
    return Exclusion(tuple(names), dict.fromkeys(touched, why_not), notices)


def _touched(outcome: Outcome, category: str, names: Collection[str]) -> bool:
    """Whether their rows judged a category, or their images are among those judged."""
    owners = outcome.owners
    judging = owners.values() if outcome.shared else [owners.get(bank_of(category), np.array([]))]
    rows = any(bool(np.isin(own, list(names)).any()) for own in judging)
    return rows or bool(set(outcome.gathered.places.get(category, {})) & set(names))


def _take_rows(outcome: Outcome, names: Collection[str]) -> None:
    for bank, own in list(outcome.banks.items()):
        left = ~np.isin(own.owners, list(names))
        if left.all():
            continue
        outcome.radii.pop(bank, None)
        if left.any():
            outcome.banks[bank] = GlobalBank(own.rows[left], own.owners[left])
        else:
            del outcome.banks[bank]


def _rescore(outcome: Outcome, category: str, station: str | None) -> None:
    """Give a category the scores without a station; none at all if that is None."""
    outcome.counts.pop(category, None)
    station_scores = outcome.station_scores.pop(category, {})
    outcome.gaps.setdefault(category, set()).update({"test", "held-out"} if not station else ())
    columns, gathered = outcome.gathered.columns_of(category), outcome.gathered
    if station is None or set(columns) == {station}:
        return
    column = columns.index(station) if station in columns else None
    for name, place in sorted(gathered.places.get(category, {}).items()):
        if name == station:
            continue
        images = gathered.images.get(category, {}).get(name)
        if images is not None:
            again = images.rescored(*(_scores(place, kind, column) for kind in KINDS[1:]))
            outcome.counts.setdefault(category, EvaluationCounts()).merge(again)
        if name != SERVER:
            held_out, good, defective = (sorted(_scores(place, kind, column)) for kind in KINDS)
            suspected = station_scores[name].suspected if name in station_scores else 0
            scores = StationScores(held_out, good, defective, suspected)
            outcome.station_scores.setdefault(category, {})[name] = scores


def _scores(place: Place, kind: str, column: int | None) -> list[float]:
    found = place.without_owner(kind, column)
    values: list[float] = [] if found is None else found.tolist()
    return values
