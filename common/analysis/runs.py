"""Run folders as the report reads them: what a run wrote, checked, nothing made up."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.errors import InputError

Metrics = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Metrics]]

RUN_FILE: Final = "run.json"
METRICS_FOLDER: Final = Path("evaluation") / "metrics"


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
    """

    folder: Path
    info: Mapping[str, Any] = field(default_factory=dict)
    contributions: tuple[Mapping[str, Any], ...] = ()
    metrics: Results = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def method(self) -> str:
        """The method that ran, by `run.json`, else the one that was evaluated."""
        return str(self.info.get("method") or next(iter(self.metrics), "unknown"))

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods of this folder; the run's own even where nothing was evaluated."""
        return tuple(self.metrics) or (self.method,)

    @property
    def failed(self) -> bool:
        """Whether the run itself says that it failed."""
        return self.info.get("status") == "failed"

    @property
    def error(self) -> str:
        """Why it failed, in the run's words; empty if it did not."""
        return str(self.info.get("error") or "no reason was recorded") if self.failed else ""

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
        return [str(notice) for notice in self.info.get("notices") or []]

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
    def synthetic(self) -> bool:
        """Whether the images were synthetic."""
        recorded = self._mapping("data").get("synthetic")
        return bool(recorded) or any(metrics.get("synthetic_data") for metrics in self._each())

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


def load_run(folder: Path) -> Run:
    """Read one run folder.

    Parameters
    ----------
    folder : Path
        A folder with run.json, or with evaluation/metrics alone.

    Returns
    -------
    Run
        Failed runs too, with their status; what a run did not write is empty.

    Raises
    ------
    InputError
        If the folder is not one of a run, or one of its files is not the JSON it should be. The
        message names the file.
    """
    folder = Path(folder)
    if not _is_run(folder):
        raise InputError(
            f"{folder} is not a run folder: it has neither {RUN_FILE} nor {METRICS_FOLDER}/; "
            "give the output folder of a run"
        )
    info = read_json(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else {}
    _check_info(info, folder / RUN_FILE)
    contributions: list[Mapping[str, Any]] = []
    path = folder / "contributions.json"
    if path.is_file():
        contributions = _object_list(read_json(path).get("stations", []), path, "stations")
    metrics: dict[str, dict[str, Metrics]] = {}
    curves: dict[str, dict[str, Curve]] = {}
    for file in sorted((folder / METRICS_FOLDER).glob("*/*/metrics.json")):
        method, category = file.parts[-3], file.parts[-2]
        metrics.setdefault(method, {})[category] = read_json(file)
        curve_file = file.with_name("curve.json")
        if curve_file.is_file():
            curves.setdefault(method, {})[category] = _read_curve(curve_file)
    return Run(folder, info, tuple(contributions), metrics, curves)


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Read every run in or below some folders, in order of path.

    Parameters
    ----------
    folders : iterable of Path
        Run folders, or folders that hold run folders at any depth.

    Returns
    -------
    list of Run
        Each run once, at least one.

    Raises
    ------
    InputError
        If a folder does not exist or holds no run, or a file of a run is broken.
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give the output folder of a run")
        below = [folder] if _is_run(folder) else _runs_below(folder)
        if not below:
            raise InputError(
                f"{folder} holds no run: no {RUN_FILE} and no {METRICS_FOLDER}/ in or below it"
            )
        found.update(dict.fromkeys(path.resolve() for path in below))
    return [load_run(path) for path in found]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        If the file cannot be read or does not hold a JSON object; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); run it again or restore it") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not JSON ({error.msg} in line {error.lineno}); "
            "it may have been cut off: run it again or restore it"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}, expected a JSON object")
    return content


def _is_run(folder: Path) -> bool:
    return (folder / RUN_FILE).is_file() or (folder / METRICS_FOLDER).is_dir()


def _runs_below(folder: Path) -> list[Path]:
    """Run folders below a folder, without looking into runs or hidden folders."""
    runs: list[Path] = []
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        if child.name.startswith("."):
            continue
        runs.extend([child] if _is_run(child) else _runs_below(child))
    return runs


def _check_info(info: Mapping[str, Any], path: Path) -> None:
    """Refuse a run.json whose parts are not of the kind that everything here relies on."""
    for key in ("seconds", "settings", "versions", "data", "feature_space", "bank", "bytes"):
        if info.get(key) is not None and not isinstance(info[key], dict):
            raise InputError(f"{path}: {key} is {type(info[key]).__name__}, expected an object")
    _object_list(info.get("stations") or [], path, "stations")
    if not isinstance(info.get("notices") or [], list):
        raise InputError(f"{path}: notices is not a list of sentences")


def _object_list(value: object, path: Path, key: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"{path}: {key} is not a list of objects")
    return value


def _read_curve(path: Path) -> Curve:
    """Read a curve.json, in rising order of FPR as it was written."""
    content = read_json(path)
    fpr, spro = content.get("fpr"), content.get("spro")
    if not isinstance(fpr, list) or not isinstance(spro, list) or len(fpr) != len(spro):
        raise InputError(f"{path}: fpr and spro must be two lists of the same length")
    try:
        return Curve(tuple(map(float, fpr)), tuple(map(float, spro)))
    except (TypeError, ValueError):
        raise InputError(f"{path}: fpr and spro must hold numbers only") from None
