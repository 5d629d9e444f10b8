"""From the survey to a plan: which banks there will be, and how many rows each station may send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.config import Settings
from common.patchcore.model_store import SHARED, bank_of
from common.protocol.messages import SurveyReply
from server_app.aggregation import apportion, row_budgets, station_weights

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
    """All banks of a run, by name: `shared`, or one for each category."""

    banks: dict[str, BankPlan] = field(default_factory=dict)

    def budgets_of(self, station: str) -> dict[str, int]:
        """Rows that one station may send, by bank."""
        return {
            name: bank.budgets[station]
            for name, bank in self.banks.items()
            if station in bank.budgets
        }


def make_plan(surveys: Mapping[str, SurveyReply], settings: Settings) -> Plan:
    """Fix banks, weights and budgets.

    Parameters
    ----------
    surveys : mapping of station to SurveyReply
        Admitted stations only.
    settings : Settings

    Returns
    -------
    Plan
        In scope `category` the sizes of the banks add up to `global-bank-size`, in proportion to
        the training images of the categories, each at least 1.
    """
    names = sorted(surveys)
    held: dict[str, dict[str, tuple[int, int]]] = {}
    for station in names:
        for category, counts in surveys[station].categories.items():
            bank = SHARED if settings.bank_scope == "shared" else bank_of(category)
            images, patches = held.setdefault(bank, {}).get(station, (0, 0))
            held[bank][station] = (images + counts.images, patches + counts.patches)
    held = {bank: own for bank, own in held.items() if sum(i for i, _ in own.values())}
    banks = sorted(held)
    totals = [sum(images for images, _ in held[bank].values()) for bank in banks]
    size = max(settings.global_bank_size, len(banks))
    spare = apportion(size - len(banks), [float(t) for t in totals], [size] * len(banks))
    return Plan(
        {
            bank: _plan_bank(held[bank], 1 + extra, settings)
            for bank, extra in zip(banks, spare, strict=True)
        }
    )


def _plan_bank(held: Mapping[str, tuple[int, int]], size: int, settings: Settings) -> BankPlan:
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
