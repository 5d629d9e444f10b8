"""The threshold that judges, and the colour scale that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.errors import InputError
from common.patchcore import PatchCore

LOWEST, HIGHEST = 0.5, 2.0
"""Ends of the colour scale, in thresholds."""


@dataclass(frozen=True)
class Rule:
    """How images are judged.

    Attributes
    ----------
    category : str or None
    threshold : float or None
        An image is anomalous if its score is above; None: there are scores and no verdicts.
    limits : (float, float)
        Distances at the ends of the colour scale, the same for all images of the model.
    note : str
        Where the threshold comes from and what it promises, in a sentence.
    """

    category: str | None
    threshold: float | None
    limits: tuple[float, float]
    note: str


def choose_rule(model: PatchCore, category: str | None, threshold: float | None = None) -> Rule:
    """Find the threshold by which a model judges a category.

    Parameters
    ----------
    model : PatchCore
    category : str or None
        May be left out if the model has one bank.
    threshold : float, optional
        Used instead of the model's own.

    Returns
    -------
    Rule
        A shared bank of several categories, without `category`, judges by the highest of their
        thresholds: the promise then holds for each of them.

    Raises
    ------
    InputError
        If the model does not know the category, or has several banks and none was named.
    """
    if category is None and len(model.banks) > 1:
        raise InputError(
            f"the model has banks for {', '.join(sorted(model.banks))}; say which with --category"
        )
    name = model.bank_name(category)
    known = model.categories or tuple(model.thresholds)
    if category is not None and known and category not in known:
        raise InputError(
            f"the model was not built for category {category!r}; it knows: {', '.join(known)}"
        )
    if category is None and len(known) == 1:
        category = known[0]
    if threshold is not None:
        if not (np.isfinite(threshold) and threshold > 0):
            raise InputError(f"--threshold {threshold}: expected a distance above 0")
        return Rule(category, threshold, _limits(threshold), "the threshold was given by hand")
    candidates = model.thresholds
    if category is not None:
        candidates = {k: v for k, v in candidates.items() if k == category}
    if not candidates:
        return Rule(
            category,
            None,
            _limits(model.radius or _spread(model, name)),
            "the model has no threshold here (no good images were held out): scores without "
            "verdicts; give one with --threshold",
        )
    chosen = max(candidates, key=lambda own: float(candidates[own]["value"]))
    value, note = float(candidates[chosen]["value"]), str(candidates[chosen].get("note", ""))
    if len(candidates) > 1:
        note = f"the highest of {len(candidates)} categories' thresholds, that of {chosen}: {note}"
    return Rule(category, value, _limits(value), note)


def _limits(distance: float) -> tuple[float, float]:
    return LOWEST * distance, HIGHEST * distance


def _spread(model: PatchCore, bank: str) -> float:
    """How far the bank's rows lie from their mean: the only scale left without a radius."""
    rows = np.asarray(model.banks[bank], dtype=np.float32)
    return float(np.sqrt(rows.var(axis=0, dtype=np.float64).sum())) or 1.0
