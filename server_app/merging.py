"""What stations sent becomes one: rows the global banks, counts and scores the evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config import Settings
from common.evaluation import EvaluationCounts, StationScores
from common.patchcore.distances import Distances
from common.patchcore.row_format import settle
from common.protocol.messages import ScoreReply
from server_app.aggregation import AGGREGATIONS, IN_ORDER, as_rows, dealt, joined, owners_of
from server_app.outcome import GlobalBank, Outcome
from server_app.plan import BankPlan, sizes_at_hand

Rows = NDArray[Any]
Built = Mapping[str, dict[str, Rows]]


def join_parts(parts: list[dict[str, Rows]]) -> dict[str, Rows]:
    """Put the parts of one station's banks together; the parts are taken out."""
    return {name: joined([part.pop(name) for part in parts]) for name in list(parts[0])}


def merge_banks(outcome: Outcome, settings: Settings, built: Built, server_round: int) -> None:
    """Select the global banks of a round from those before and from what came now.

    Parameters
    ----------
    outcome : Outcome
        With the plan and the banks of the round before; given the new ones, and its stations how
        many rows of theirs are in them.
    settings : Settings
    built : mapping of station to dict of bank to rows
        In order of station name. Rows are taken out on the way: nothing is in memory twice for
        longer than needed.
    server_round : int
    """
    sizes = _sizes(outcome, settings, built)
    for name, plan in outcome.plan.banks.items():
        _merge(outcome, settings, name, plan, sizes[name], built, server_round)
    # Only who has sent rows: a refused twin has the same name and none of them.
    for participant in (one for one in outcome.roster.all() if one.rows_sent):
        participant.rows_chosen = sum(
            int((bank.owners == participant.name).sum()) for bank in outcome.banks.values()
        )


def add_scores(outcome: Outcome, reply: ScoreReply, counts: Mapping[str, EvaluationCounts]) -> None:
    """Add what a station says of its own images to what the others said.

    Parameters
    ----------
    outcome : Outcome
    reply : ScoreReply
        Checked.
    counts : mapping of category to EvaluationCounts
        Of its test images.
    """
    for category, own in counts.items():
        outcome.counts.setdefault(category, EvaluationCounts()).merge(own)
    for category, scores in reply.categories.items():
        outcome.leave_out(category, f"at {reply.station}", scores.failed)
        tested = counts.get(category, EvaluationCounts())
        outcome.station_scores.setdefault(category, {})[reply.station] = StationScores(
            held_out=sorted(scores.held_out_scores),
            good=tested.image_scores(0),
            defective=tested.image_scores(1),
            suspected=scores.suspicious_held_out,
        )
    outcome.without_bank.update(reply.without_bank)
    for bank, radius in reply.radius.items():
        outcome.radii[bank] = max(outcome.radii.get(bank, 0.0), radius)


def _sizes(outcome: Outcome, settings: Settings, built: Built) -> dict[str, int]:
    """Rows that every bank will have, of what was kept before and what came now."""
    plan, at_hand = outcome.plan, dict[str, int]()
    for name, bank in plan.banks.items():
        old = outcome.banks.get(name)
        kept = 0 if old is None else int(np.isin(old.owners, bank.stations).sum())
        came = [built[s][name] for s in bank.stations if name in built.get(s, {})]
        at_hand[name] = kept + sum(len(rows) for rows in came)
    return sizes_at_hand(plan, at_hand, settings)


def _merge(
    outcome: Outcome,
    settings: Settings,
    name: str,
    plan: BankPlan,
    size: int,
    built: Built,
    server_round: int,
) -> None:
    """Global selection for one bank: what was kept before, and what came now (taken out)."""
    old = outcome.banks.get(name)
    outcome.gathered.copies.look(
        {s: built[s][name] for s in plan.stations if name in built.get(s, {})},
        {} if old is None else {s: old.rows[old.owners == s] for s in np.unique(old.owners)},
    )
    stations, banks, weights = [], [], []
    for station, weight in zip(plan.stations, plan.weights, strict=True):
        parts = [] if old is None else [old.rows[old.owners == station]]
        if name in built.get(station, {}):
            parts.append(built[station].pop(name))
        if len(parts) > 1 and settings.aggregation in IN_ORDER:
            parts = [dealt(parts[0], parts[1], server_round)]
        if sum(len(part) for part in parts):
            stations.append(station)
            banks.append(joined(parts))
            weights.append(float(weight))
    if not banks:
        outcome.note(f"no station delivered rows for bank {name}")
        return
    indices = AGGREGATIONS[settings.aggregation](
        banks,
        np.asarray(weights),
        size,
        distances=Distances(settings.coreset_projection, settings.seed),
        min_share=settings.min_station_share,
    )
    owners = np.asarray(stations)[owners_of(indices, [len(bank) for bank in banks])]
    rows = settle(as_rows(banks, indices), settings.wire_dtype)
    outcome.banks[name] = GlobalBank(rows, owners)
