"""From the survey to a plan: which banks there will be, and how many rows each station may send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.config import Settings
from common.patchcore.local_bank import row_budget
from common.patchcore.model_store import bank_of
from common.patchcore.shares import fair_sizes
from common.protocol.messages import SurveyReply
from server_app.aggregation import row_budgets, station_weights
from server_app.counted import Counted, counted_images

PART_BYTES: Final = 200_000_000
"""Largest payload of one message; larger ones stall or fail a SuperLink with a database."""


@dataclass(frozen=True)
class BankPlan:
    """One global bank: its size and what each station (in order of name) stands for.

    Attributes
    ----------
    size : int
    stations : tuple of str
    weights : array of shape (stations,), float64
    patches : tuple of int
    budgets : dict of station to int
        Only stations that may send rows.
    """

    size: int
    stations: tuple[str, ...]
    weights: NDArray[np.float64]
    patches: tuple[int, ...]
    budgets: dict[str, int]

    def patches_of(self, station: str) -> int:
        """Patches that a station said it has for this bank."""
        return self.patches[self.stations.index(station)]


@dataclass(frozen=True)
class Plan:
    """The rows of a run, by category (`bank_of`): banks of their own, or parts of a shared one."""

    banks: dict[str, BankPlan] = field(default_factory=dict)

    def budgets_of(self, station: str) -> dict[str, int]:
        """Rows that one station may send, by bank."""
        return {
            name: bank.budgets[station]
            for name, bank in self.banks.items()
            if station in bank.budgets
        }


def make_plan(
    surveys: Mapping[str, SurveyReply], settings: Settings, counted: Counted | None = None
) -> Plan:
    """Fix banks, weights and budgets.

    Parameters
    ----------
    surveys : mapping of station to SurveyReply
        Admitted stations only.
    settings : Settings
    counted : Counted, optional
        How many images of each count; by default their words, bounded by `max-station-share`.

    Returns
    -------
    Plan
        The sizes add up to `global-bank-size`, in proportion to the training images of the
        categories, each at least 1. Of a shared bank the categories have shares (see `shares`):
        what one of them cannot fill, by `local-coreset-ratio` of its patches, goes to the others.
    """
    counted = counted or counted_images(surveys, settings.max_station_share)
    held: dict[str, dict[str, tuple[float, int]]] = {}
    named: dict[str, set[str]] = {}
    for station in sorted(surveys):
        for category, counts in surveys[station].categories.items():
            images = counted.images[station][category]
            held.setdefault(bank_of(category), {})[station] = (images, counts.patches)
            named.setdefault(bank_of(category), set()).add(category)
    held = {bank: own for bank, own in held.items() if sum(i for i, _ in own.values())}
    banks = sorted(held)
    totals = [sum(counted.totals[c] for c in named[bank]) for bank in banks]
    total = max(settings.global_bank_size, len(banks))
    limits = [total] * len(banks)
    if settings.bank_scope == "shared":
        ratio = settings.local_coreset_ratio
        limits = [sum(row_budget(ratio, p) for i, p in held[b].values() if i) for b in banks]
    sizes = fair_sizes(total, totals, limits)
    return Plan(
        {
            bank: _plan_bank(held[bank], size, settings)
            for bank, size in zip(banks, sizes, strict=True)
        }
    )


def sizes_at_hand(plan: Plan, at_hand: Mapping[str, int], settings: Settings) -> dict[str, int]:
    """Rows that each category has in the end, of those that came.

    Parameters
    ----------
    plan : Plan
    at_hand : mapping of bank to int
        Rows that can be chosen from; those of a lost station are missing.
    settings : Settings

    Returns
    -------
    dict of bank to int
        The planned sizes. In a shared bank the others have what a category cannot fill.
    """
    planned = {name: bank.size for name, bank in plan.banks.items()}
    there = [name for name in planned if at_hand.get(name, 0)]
    if settings.bank_scope != "shared" or not there:
        return planned
    # One row each is certain, so the weights are those of the others: the plan comes out again.
    weights = [float(planned[name] - 1) for name in there]
    sizes = fair_sizes(sum(planned.values()), weights, [at_hand[name] for name in there])
    return {**planned, **dict(zip(there, sizes, strict=True))}


def _plan_bank(held: Mapping[str, tuple[float, int]], size: int, settings: Settings) -> BankPlan:
    stations = tuple(sorted(held))
    weights = station_weights([held[name][0] for name in stations], settings.weighted_by_samples)
    patches = tuple(held[name][1] for name in stations)
    budgets = row_budgets(
        weights, patches, size, settings.local_coreset_ratio, settings.oversample_factor
    )
    return BankPlan(
        size=size,
        stations=stations,
        weights=weights,
        patches=patches,
        budgets={name: budget for name, budget in zip(stations, budgets, strict=True) if budget},
    )


def parts_needed(rows: int, dim: int, dtype: str) -> int:
    """Messages that so many rows take."""
    return max(1, math.ceil(rows * dim * np.dtype(dtype).itemsize / PART_BYTES))
