"""What a run is told as: `run.json` and `contributions.json`, the same for every method."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

from numpy.typing import NDArray

import common
from common.config import NAMED_WEIGHTS, PATH_KEYS, Settings
from common.evaluation import Threshold
from common.evaluation.judge import CategoryResult, left_out
from common.patchcore.distances import Distances
from common.patchcore.model_store import SHARED, SavedModel, StationCalibration, bank_of
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.shares import Share

FORMAT: Final = 1


@dataclass(frozen=True)
class StationFacts:
    """A station's line in `run.json`; what a method does not have is None.

    `status` is `used`, `refused`, `failed` or `missing`, with the reason of the last three.
    `device` is what computed its features, see `FeatureExtractor.computed_by`. `joined_round` is
    the round before which the station was first surveyed, `images_extracted`
    how many images' features it computed rather than read from its cache. `delivery` says what
    became of the finished model there; None in a run that delivers none.
    """

    name: str
    status: str = "used"
    reason: str | None = None
    joined_round: int | None = None
    host: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    images_extracted: int = 0
    device: str | None = None
    delivery: dict[str, Any] | None = None


@dataclass(frozen=True)
class Contribution:
    """A station's line in `contributions.json`.

    `categories` holds the images and patches that its bank is built from; of its rows at most
    `budget` may be chosen, `rows_sent` left it, and `rows_chosen` are in the bank that judges:
    without a federation its own. `radius` is the largest of its own banks. `images_counted` is how
    many of its images its weight goes by: its word may have been cut. `audit` holds what it says
    of its good images, by category (`CategoryAudit.counts`), and how many of its held-out ones
    scored beyond the fence (`beyond_fence`).
    """

    name: str
    budget: int
    rows_sent: int
    rows_chosen: int
    bytes: int
    radius: float | None
    seconds: float
    categories: dict[str, dict[str, int]]
    images_counted: float | None = None
    verdict: str | None = None
    verdict_sentence: str | None = None
    audit: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """With the sums over the categories."""
        sums = {
            key: sum(own[key] for own in self.categories.values()) for key in ("images", "patches")
        }
        counted = sums["images"] if self.images_counted is None else self.images_counted
        return {**asdict(self), **sums, "images_counted": round(counted, 3)}


@dataclass(frozen=True)
class BankFacts:
    """Size and reach of the banks that judged; `radius` is the largest of them."""

    scope: str
    rows: dict[str, int]
    feature_dim: int
    radius: float | None

    @classmethod
    def of(cls, banks: Mapping[str, NDArray[Any]], radius: float | None) -> BankFacts:
        """Of the banks of one model."""
        rows = {name: len(bank) for name, bank in banks.items()}
        scope = "shared" if list(banks) == [SHARED] else "category"
        return cls(scope, rows, next(iter(banks.values())).shape[1], radius)


@dataclass
class RunRecord:
    """Everything that `run.json` and its neighbours are made of.

    Attributes
    ----------
    settings, method
        What was run.
    started : datetime
    status, error
        `completed`, or `failed`, `stopped`, and why; `running` of one that has not ended.
    progress : dict or None
        At which step a plant's run is, or was when it ended early, since when, and where each
        station is; None for a completed run, and for runs that tell nothing meanwhile.
    flower_run_id : str or None
    seconds : dict of step to float
    synthetic : bool or None
        Whether the images are drawings; None if the run failed before that was known.
    categories : list of str
    space, bank, model
        As far as the run came; `model` is None where there is none to deploy.
    stations : list of StationFacts
    contributions : list of Contribution
        Both empty for a run without stations.
    evaluated : list of CategoryResult
        Added to by `keep`.
    training_summary : dict of category to facts, or None
        Of a centralized baseline.
    summary : str or None
        Who took part and who did not, in one line; None for a run without stations.
    tell_drift : bool
        Whether every comparison with the calibration is worth a notice, or only what is more than
        chance.
    device : str or None
        What computed features here, see `FeatureExtractor.computed_by`; None if nothing did.
    hide_paths : bool
        True for real stations: no path is written.
    notices : list of str
    unevaluated : list of str
        What could not be judged, where and why; the banks are whole all the same.
    influence : dict or None
        What each station's rows and words change, and its verdict; None where that is not known.
    audits : dict of place to dict of category to counts
        What was found of the good images, see `CategoryAudit.counts`; "" is a run in one place.
    """

    settings: Settings
    method: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: str = "completed"
    error: str | None = None
    flower_run_id: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    synthetic: bool | None = None
    categories: list[str] = field(default_factory=list)
    space: FeatureSpace | None = None
    bank: BankFacts | None = None
    model: SavedModel | None = None
    model_sha256: str | None = None
    stations: list[StationFacts] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)
    evaluated: list[CategoryResult] = field(default_factory=list)
    training_summary: dict[str, dict[str, Any]] | None = None
    summary: str | None = None
    tell_drift: bool = False
    device: str | None = None
    hide_paths: bool = False
    notices: list[str] = field(default_factory=list)
    unevaluated: list[str] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    influence: dict[str, Any] | None = None
    audits: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time that the block takes to a step's seconds."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - started

    def keep(
        self,
        found: CategoryResult,
        faults: Mapping[str, Exception] | None = None,
        known: Iterable[str] = (),
    ) -> None:
        """Take in what was found in one category; say what is not there, and what failed.

        `faults` are those of `Judged`; why the `known` images are not there is told elsewhere.
        """
        if found.category not in self.categories:
            self.categories.append(found.category)
        self.evaluated.append(found)
        for line in self.contributions:
            if count := found.beyond_fence.get(line.name, 0):
                line.audit.setdefault(found.category, {})["beyond_fence"] = count
        self.notices += found.remarks({*(faults or ()), *known})
        self.unevaluated += left_out(found.category, faults or {})

    def save_model(
        self,
        banks: dict[str, NDArray[Any]],
        radii: Mapping[str, float],
        calibrations: dict[str, StationCalibration] | None = None,
        shares: Mapping[str, Share] | None = None,
        **provenance: Any,
    ) -> None:
        """Make the model that the run leaves: its banks, with the thresholds of what was kept."""
        if self.space is None:
            return
        self.bank = BankFacts.of(banks, max(radii.values(), default=None))
        self.model = SavedModel(
            banks=banks,
            space=self.space,
            image_score=self.settings.image_score,
            augment=self.settings.augment,
            # A category that some station only tests is judged by no bank of its own.
            categories=tuple(c for c in self.categories if {SHARED, bank_of(c)} & set(banks)),
            thresholds=threshold_facts({one.category: one.threshold for one in self.evaluated}),
            calibration={one.category: list(one.held_out or ()) for one in self.evaluated},
            stations=calibrations or {},
            selection=Distances(self.settings.coreset_projection, self.settings.seed),
            radii={name: radii[name] for name in banks if name in radii},
            shares=dict(shares or {}),
            weights_source="" if self.hide_paths else self.settings.absolute().weights,
            provenance={
                "method": self.method,
                "created": self.started.isoformat(timespec="seconds"),
                "synthetic_data": bool(self.synthetic),
                "calibration_fraction": self.settings.calibration_fraction,
                "program_version": common.__version__,
                **provenance,
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Content of `run.json`."""
        finished = datetime.now(UTC)
        total = (finished - self.started).total_seconds()
        ongoing = self.status == "running"
        return {
            "format": FORMAT,
            "status": self.status,
            "error": self.error,
            "method": self.method,
            "flower_run_id": self.flower_run_id,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": None if ongoing else finished.isoformat(timespec="seconds"),
            "progress": None if self.status == "completed" else self.progress,
            "seconds": {**self.seconds, "total": total},
            "settings": self._shown_settings(),
            "versions": _versions(),
            "seed": self.settings.seed,
            "data": {"synthetic": self.synthetic, "categories": self.categories},
            "feature_space": self.space.to_json() if self.space else None,
            "bank": asdict(self.bank) if self.bank else None,
            "model_sha256": self.model_sha256,
            "device": self.device,
            "stations": [asdict(station) for station in self.stations],
            "summary": self.summary,
            "unevaluated": self.unevaluated,
            "influence": self.influence,
            "bytes": {
                "up": sum(station.bytes_up for station in self.stations),
                "down": sum(station.bytes_down for station in self.stations),
            },
            "audit": self._audit(),
            "notices": self.notices,
        }

    def _audit(self) -> dict[str, Any]:
        """Block `audit`: good images that may be none, by category and by station."""
        stations: dict[str, dict[str, dict[str, Any]]] = {
            name: {category: dict(counts) for category, counts in own.items()}
            for name, own in self.audits.items()
        }
        for found in self.evaluated:
            for name, count in found.beyond_fence.items():
                stations.setdefault(name, {}).setdefault(found.category, {})["beyond_fence"] = count
        return {
            "audit_good": self.settings.audit_good,
            "suspicious_held_out": {
                found.category: found.threshold.suspicious_held_out
                for found in self.evaluated
                if found.threshold is not None
            },
            "categories": stations.pop("", {}),
            "stations": stations,
        }

    def _shown_settings(self) -> dict[str, Any]:
        shown: dict[str, Any] = dict(self.settings.to_run_config())
        if self.hide_paths:
            shown.update(dict.fromkeys(PATH_KEYS, ""))
            if shown["weights"] not in NAMED_WEIGHTS:
                shown["weights"] = "auto"
        return shown


def threshold_facts(thresholds: Mapping[str, Threshold | None]) -> dict[str, dict[str, Any]]:
    """Thresholds as `model.json` keeps them; categories without one are absent."""
    return {
        category: {key: value for key, value in asdict(threshold).items() if value is not None}
        for category, threshold in thresholds.items()
        if threshold is not None
    }


def _versions() -> dict[str, str]:
    """Versions that a result depends on."""
    names = ("flwr", "torch", "torchvision", "numpy")
    return {
        "fedpatchcore": common.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
