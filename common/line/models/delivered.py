"""The model that one station is sent: a part of the server's, as text and rows with digests.

What is sent is named here, word by word: what a later version keeps in a model besides stays where
it is until somebody adds it to these lists.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.evaluation import Threshold
from common.patchcore.model_store import SHARED, SavedModel, StationCalibration, category_of

Rows = NDArray[Any]

FACTS_SENT: Final = (
    "format",
    "scope",
    "rows",
    "feature_dim",
    "fingerprint",
    "feature_space",
    "image_score",
    "augment",
    "categories",
    "thresholds",
    "calibration",
    "stations",
    "coreset_projection",
    "radius",
    "radii",
    "shares",
    "stale",
    "weights_source",
    "provenance",
)
"""Of what `model.json` says."""
PROVENANCE_SENT: Final = (
    "method",
    "created",
    "synthetic_data",
    "calibration_fraction",
    "flower_run_id",
    "stations",
    "program_version",
    "app_sha256",
)
"""Of its `provenance`: the run, how many rows of the bank are whose, and the program."""
THRESHOLD_SENT: Final = tuple(own.name for own in fields(Threshold))
"""Of a threshold: what the run found; who set one by hand, and why, is that place's affair."""


def model_for(model: SavedModel, station: str, held: Collection[str]) -> SavedModel | None:
    """Take of a run's model what one station needs.

    Parameters
    ----------
    model : SavedModel
        The server's, with the thresholds and held-out scores of every station.
    station : str
    held : collection of str
        Categories of which the station has images.

    Returns
    -------
    SavedModel or None
        The banks that judge these categories, the merged thresholds of these, and the station's
        own thresholds and scores. No held-out score and no threshold of another station: the
        merged scores are left out, too. None where the station has no use for any bank.
    """
    categories = tuple(name for name in model.categories if name in held)
    banks = {
        bank: rows
        for bank, rows in model.banks.items()
        if bank == SHARED or category_of(bank) in categories
    }
    if not categories or not banks:
        return None
    own = model.stations.get(station)
    return SavedModel(
        banks=banks,
        space=model.space,
        image_score=model.image_score,
        augment=model.augment,
        categories=categories,
        thresholds=_thresholds(model.thresholds, categories),
        stations={}
        if own is None
        else {
            station: StationCalibration(
                thresholds=_thresholds(own.thresholds, categories),
                calibration={c: one for c, one in own.calibration.items() if c in categories},
            )
        },
        selection=model.selection,
        radii={bank: radius for bank, radius in model.radii.items() if bank in banks},
        shares=model.shares,
        stale=tuple(c for c in model.stale if c in categories),
        provenance=_named(model.provenance, PROVENANCE_SENT),
    )


def _thresholds(
    found: Mapping[str, Mapping[str, Any]], categories: Collection[str]
) -> dict[str, dict[str, Any]]:
    return {c: _named(one, THRESHOLD_SENT) for c, one in found.items() if c in categories}


def _named(facts: Mapping[str, Any], words: Collection[str]) -> dict[str, Any]:
    return {word: value for word, value in facts.items() if word in words}


def model_text(model: SavedModel) -> str:
    """Write all that is to be said of a model but its rows: the same text for the same model."""
    return json.dumps(_named(model.facts(), FACTS_SENT), sort_keys=True)


def model_of(text: str, banks: Mapping[str, Rows]) -> SavedModel:
    """Put a model together of `model_text` and its rows.

    Raises
    ------
    ValueError
        If the text is not that of a model with these banks.
    """
    try:
        facts = json.loads(text)
        told = {name: (int(n), int(facts["feature_dim"])) for name, n in facts["rows"].items()}
        found = {name: rows.shape for name, rows in banks.items()}
        if told != found:
            raise ValueError(f"its text tells of banks {told}, its rows are {found}")
        return SavedModel.from_facts(facts, dict(banks))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def text_digest(text: str) -> str:
    """Sha256 (hex) of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def rows_digest(rows: Rows) -> str:
    """Sha256 (hex) of the rows of a bank: number format, shape, then the numbers, row by row."""
    digest = hashlib.sha256(f"{rows.dtype.name} {rows.shape}\n".encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()
