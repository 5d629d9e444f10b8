"""One run as the report sees it: what it wrote, nothing made up."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# A run folder is written as `<name>.<process>.partial` and renamed when whole; its report before.
_UNFINISHED: Final = re.compile(r"\.\d+\.partial$")

Metrics = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Metrics]]


@dataclass(frozen=True)
class Curve:
    """Mean sPRO of a test set over the false-positive rate of its normal pixels.

    Attributes
    ----------
    fpr, spro : tuple of float
        Points of the curve in rising order of `fpr`, both in [0, 1], same length.
    """

    fpr: tuple[float, ...]
    spro: tuple[float, ...]


_ENDINGS = {"killed": "was killed", "stopped": "was stopped", "running": "has not ended"}


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes
    ----------
    folder : Path
        Where it lies.
    info : mapping
        `run.json`; empty for a folder that holds only metrics.
    contributions : tuple of mapping
        The stations of `contributions.json`; empty where there are none.
    metrics : mapping of method to category to metrics
        What was evaluated.
    curves : mapping of method to category to Curve
        The FPR-sPRO curves that were written.
    problems : tuple of str
        Sentences about files that should be there and are not.
    """

    folder: Path
    info: Mapping[str, Any] = field(default_factory=dict)
    contributions: tuple[Mapping[str, Any], ...] = ()
    metrics: Results = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the folder; of one that is still being written the name it will have."""
        return _UNFINISHED.sub("", self.folder.name)

    @property
    def method(self) -> str:
        """The method that ran, by `run.json`, else the one that was evaluated."""
        return str(self.info.get("method") or next(iter(self.metrics), "unknown"))

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods of this folder; the run's own even where nothing was evaluated."""
        return tuple(self.metrics) or (self.method,)

    @property
    def influence(self) -> dict[str, Mapping[str, Any]]:
        """What the run says of each station's rows, by station; empty where it says nothing."""
        told = self.info.get("influence")
        stations = told.get("stations") if isinstance(told, Mapping) else None
        found = stations.items() if isinstance(stations, Mapping) else ()
        return {str(name): own for name, own in found if isinstance(own, Mapping)}

    @property
    def failed(self) -> bool:
        """Whether the run itself says that it has no result: failed, stopped, killed, running."""
        return self.info.get("status", "completed") != "completed"

    @property
    def ending(self) -> str:
        """How it has failed, behind "the run": "failed", "was killed" and so on."""
        status = str(self.info.get("status"))
        return _ENDINGS.get(status, "failed")

    @property
    def error(self) -> str:
        """Why it failed, in the run's words; empty if it did not."""
        if not self.failed:
            return ""
        if self.info.get("status") == "running":
            return "it goes on, or its end is not known yet"
        return str(self.info.get("error") or "no reason was recorded")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Run config under kebab-case keys; empty if not recorded."""
        return self._mapping("settings")

    @property
    def seed(self) -> int | None:
        """Seed of the run; None if not recorded."""
        seed = self.info.get("seed", self.settings.get("seed"))
        return seed if isinstance(seed, int) else None

    @property
    def feature_space(self) -> Mapping[str, Any]:
        """Backbone, layers, weights and fingerprint; empty if not recorded."""
        return self._mapping("feature_space")

    @property
    def bank(self) -> Mapping[str, Any]:
        """Scope, rows, dimensions and radius of the memory bank; empty if not recorded."""
        return self._mapping("bank")

    @property
    def bank_rows(self) -> int | None:
        """Rows of all banks together; None if not recorded."""
        rows = self.bank.get("rows")
        return sum(rows.values()) if isinstance(rows, dict) and rows else None

    @property
    def stations(self) -> list[Mapping[str, Any]]:
        """Who was asked, and what became of it."""
        return list(self.info.get("stations") or [])

    @property
    def notices(self) -> list[str]:
        """Sentences that the run left for its reader."""
        missed = [f"NOT EVALUATED: {what}" for what in self.info.get("unevaluated") or []]
        return missed + [str(notice) for notice in self.info.get("notices") or []]

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by step, with `total`; empty if not recorded."""
        return self._mapping("seconds")

    @property
    def sent_bytes(self) -> Mapping[str, int]:
        """Bytes `up` to the server and `down` to the stations; empty if not recorded."""
        return self._mapping("bytes")

    @property
    def real_stations(self) -> bool:
        """Whether the stations were real ones: then no path of theirs may be shown."""
        return self.method == "federated"

    @property
    def images(self) -> str:
        """Kind of the images: "synthetic", "real" or "not recorded" (a run may fail before)."""
        found = [self._mapping("data").get("synthetic")]
        found += [metrics.get("synthetic_data") for metrics in self._each()]
        known = [bool(synthetic) for synthetic in found if synthetic is not None]
        if not known:
            return "not recorded"
        return "synthetic" if any(known) else "real"

    @property
    def synthetic(self) -> bool:
        """Whether the images were synthetic."""
        return self.images == "synthetic"

    @property
    def weights(self) -> str:
        """What weights the backbone had, in the run's words; empty if not recorded."""
        said = self.feature_space.get("weights")
        if not said:
            said = next((m["weights"] for m in self._each() if m.get("weights")), "")
        return str(said)

    @property
    def random_weights(self) -> bool:
        """Whether the backbone was not trained."""
        return self.weights.lower().startswith("random")

    def _mapping(self, key: str) -> Mapping[str, Any]:
        """A nested object of run.json; empty where it is null or absent."""
        return self.info.get(key) or {}

    def _each(self) -> Iterable[Metrics]:
        """Metrics of every method and category."""
        return (
            metrics for by_category in self.metrics.values() for metrics in by_category.values()
        )


def metric_value(metrics: Metrics, path: tuple[str, ...]) -> float | None:
    """Read one number of a metrics file.

    Parameters
    ----------
    metrics : mapping
        Content of a metrics.json.
    path : tuple of str
        Keys from the outside in, as ("localization", "auc_spro", "0.05").

    Returns
    -------
    float or None
        None where the number is absent or not finite: it is then missing, not zero.
    """
    found: Any = metrics
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def missing_reason(metrics: Metrics, path: tuple[str, ...]) -> str:
    """Say why a number is absent from a metrics file.

    Parameters
    ----------
    metrics : mapping
        Content of a metrics.json.
    path : tuple of str
        Where the number would stand.

    Returns
    -------
    str
        The reason of `not_computed` for the number or for what it belongs to; else a sentence
        saying that none was given.
    """
    reasons = metrics.get("not_computed") or {}
    for length in range(len(path), 0, -1):
        reason = reasons.get(".".join(path[:length]))
        if reason:
            return str(reason)
    return "not in the metrics file, and no reason was given"
