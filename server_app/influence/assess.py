"""The influence of every station of a run: what `run.json` and `contributions.json` tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.patchcore.distances import Distances
from common.patchcore.model_store import bank_of
from server_app.influence.numbers import category_numbers
from server_app.influence.support import Support, supports
from server_app.influence.verdict import (
    QUARANTINE,
    Reason,
    StationNumbers,
    Verdict,
    judge_station_numbers,
)
from server_app.outcome import Outcome


@dataclass(frozen=True)
class StationInfluence:
    """One station's verdict and the numbers that it rests on."""

    verdict: Verdict
    sentence: str
    reasons: list[Reason]
    numbers: StationNumbers

    def to_json(self) -> dict[str, Any]:
        """Its entry in `run.json`."""
        numbers = self.numbers
        rows = {key: getattr(numbers, key) for key in ("asked", "sent", "chosen", "share")}
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "reasons": [reason.name for reason in self.reasons],
            "why": [asdict(reason) for reason in self.reasons],
            "rows": rows,
            "images": {"claimed": numbers.claimed, "counted": round(numbers.counted, 3)},
            "copied_rows": numbers.copied,
            "copied_from": numbers.copied_from,
            "categories": {c: own.to_json() for c, own in sorted(numbers.categories.items())},
        }


@dataclass(frozen=True)
class Influence:
    """Of all stations that took part in a run.

    Attributes
    ----------
    stations : dict of station to StationInfluence
    unknown : str or None
        Why nothing is known of scores without a station's rows, if so.
    not_asked : tuple of str
        Stations that were not asked, as their answer would have been too large.
    """

    stations: dict[str, StationInfluence] = field(default_factory=dict)
    unknown: str | None = None
    not_asked: tuple[str, ...] = ()

    @property
    def quarantined(self) -> list[str]:
        """Names of the stations under `quarantine`, in order."""
        return sorted(n for n, own in self.stations.items() if own.verdict == QUARANTINE)

    def to_json(self) -> dict[str, Any]:
        """Content of `influence` in `run.json`."""
        return {
            "stations": {name: own.to_json() for name, own in sorted(self.stations.items())},
            "unknown": self.unknown,
            "not_asked": list(self.not_asked),
        }


def assess(outcome: Outcome) -> Influence:
    """Judge what every station brought and said.

    Parameters
    ----------
    outcome : Outcome
        After the scores came; before anything is excluded.

    Returns
    -------
    Influence
        Of every station that was surveyed and is in, or has rows in a bank.
    """
    names = sorted(outcome.planned)
    measured = {name: _supports(outcome, name) for name in outcome.banks}
    found = {}
    longest = _longest(outcome)
    for name in names:
        numbers = _numbers(outcome, name, measured, longest)
        found[name] = StationInfluence(*judge_station_numbers(numbers), numbers)
    gathered = outcome.gathered
    return Influence(found, gathered.unasked, tuple(sorted(gathered.too_large)))


def _supports(outcome: Outcome, bank: str) -> dict[str, Support]:
    settings, rows = outcome.roster.settings, outcome.banks[bank]
    distances = Distances(settings.coreset_projection, settings.seed)
    return supports(rows.rows, rows.owners, distances)


def _numbers(
    outcome: Outcome,
    station: str,
    measured: Mapping[str, Mapping[str, Support]],
    longest: Mapping[str, float],
) -> StationNumbers:
    plan, gathered, settings = outcome.plan, outcome.gathered, outcome.roster.settings
    participant = next(p for p in outcome.roster.all() if p.name == station and p.survey)
    categories = {}
    for category in outcome.categories():
        bank, places = bank_of(category), gathered.places.get(category, {})
        owners = outcome.owners.get(bank, np.zeros(0, dtype=np.str_))
        if station in places or station in owners:
            categories[category] = category_numbers(
                station,
                places,
                gathered.columns_of(category),
                owners,
                measured.get(bank, {}).get(station),
                settings.target_false_alarm_rate,
                fenced=settings.audit_good != "off",
            )
    planned = sum(bank.size for bank in plan.banks.values())
    own = sum(
        bank.size * float(bank.weights[bank.stations.index(station)])
        for bank in plan.banks.values()
        if station in bank.stations
    )
    total = sum(len(bank.rows) for bank in outcome.banks.values())
    copies = gathered.copies
    most = copies.with_whom.get(station)
    return StationNumbers(
        asked=sum(plan.budgets_of(station).values()),
        sent=participant.rows_sent,
        chosen=participant.rows_chosen,
        share=own / planned if planned else 0.0,
        claimed=outcome.counted.told.get(station, 0.0),
        counted=outcome.counted.stations.get(station, 0.0),
        copied=copies.shared.get(station, 0),
        copied_from=most.most_common(1)[0][0] if most else None,
        others_chosen=total - participant.rows_chosen,
        diameter=2 * float(np.median([n for o, n in longest.items() if o != station] or [0.0])),
        categories=categories,
    )


def _longest(outcome: Outcome) -> dict[str, float]:
    """The largest norm of a row, by station: no two rows are farther apart than twice that."""
    longest: dict[str, float] = {}
    for bank in outcome.banks.values():
        for owner in np.unique(bank.owners):
            rows: NDArray[np.float64] = bank.rows[bank.owners == owner].astype(np.float64)
            norm = float(np.linalg.norm(rows, axis=1).max())
            longest[str(owner)] = max(longest.get(str(owner), 0.0), norm)
    return longest
