"""Runs that differ only in their seed are one series: one column of every table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from common.analysis.runs import Metrics, Run, metric_value, missing_reason
from common.config import Settings

METHOD_LABELS: Final = {
    "centralized": "centralized",
    "local": "local",
    "federated_iid": "federated, IID",
    "federated_category": "federated, by category",
    "federated_dirichlet": "federated, Dirichlet",
    "federated": "federated",
}
# Settings that never change a result, or that name only where something lies.
_NO_VARIATION: Final = frozenset(
    ("seed", "output-dir", "data-root", "device", "batch-size", "num-workers", "round-timeout")
)


@dataclass(frozen=True)
class Series:
    """The runs of one method with the same settings but for the seed.

    Attributes
    ----------
    label : str
        Name for people: the method, and the settings in which it differs from its siblings.
    method : str
        Name of the folder under evaluation/metrics.
    runs : tuple of Run
        One for each seed, or more.
    """

    label: str
    method: str
    runs: tuple[Run, ...]

    @property
    def categories(self) -> list[str]:
        """Categories with metrics in at least one of the runs, sorted."""
        return sorted({name for run in self.runs for name in run.metrics.get(self.method, {})})

    def metrics(self, category: str) -> list[tuple[Run, Metrics]]:
        """Runs that evaluated a category, with its metrics."""
        found = ((run, run.metrics.get(self.method, {}).get(category)) for run in self.runs)
        return [(run, metrics) for run, metrics in found if metrics is not None]

    def values(self, category: str, path: tuple[str, ...]) -> list[float]:
        """One number for each run that has it, in order of the runs."""
        values = (metric_value(metrics, path) for _, metrics in self.metrics(category))
        return [value for value in values if value is not None]

    def mean(self, category: str, path: tuple[str, ...]) -> float | None:
        """Mean over the runs that have the number; None if none has it."""
        values = self.values(category, path)
        return float(np.mean(values)) if values else None

    def why_missing(self, category: str, path: tuple[str, ...]) -> list[str]:
        """One sentence for each run that lacks the number."""
        reasons = []
        for run in self.runs:
            metrics = run.metrics.get(self.method, {}).get(category)
            if metrics is not None and metric_value(metrics, path) is not None:
                continue
            if run.failed:
                reason = f"the run {run.ending} ({run.error})"
            elif metrics is None:
                reason = "the run has no metrics of this category"
            else:
                reason = missing_reason(metrics, path)
            reasons.append(f"{self.label}, {run.name}: {reason}")
        return reasons


def group_runs(runs: Sequence[Run]) -> list[Series]:
    """Put the runs of one method and the same settings together.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    list of Series
        In the order centralized, local, federated IID, by category, Dirichlet, real stations, then
        any others by name; within a method in order of label. Labels are distinct.
    """
    order = list(METHOD_LABELS)
    methods = dict.fromkeys(method for run in runs for method in run.methods)
    series: list[Series] = []
    for method in sorted(
        methods, key=lambda name: (order.index(name) if name in order else len(order), name)
    ):
        members = [run for run in runs if method in run.methods]
        varying = _varying(members)
        groups: dict[str, list[Run]] = {}
        for run in members:
            parts = [f"{key} {_shown(run.settings.get(key, '?'))}" for key in varying]
            label = ", ".join([METHOD_LABELS.get(method, method), *parts])
            groups.setdefault(label, []).append(run)
        series.extend(
            Series(label, method, tuple(groups[label])) for label in sorted(groups, key=_natural)
        )
    return series


def value_table(
    series: Sequence[Series], path: tuple[str, ...], categories: Sequence[str] | None = None
) -> pd.DataFrame:
    """One number of every category and series; the mean where a series has several seeds.

    Parameters
    ----------
    series : sequence of Series
    path : tuple of str
        Where the number stands in metrics.json.
    categories : sequence of str, optional
        Rows; by default every category that any series has.

    Returns
    -------
    DataFrame of float
        Categories x labels. NaN stands for missing and is never filled.
    """
    if categories is None:
        categories = sorted({name for one in series for name in one.categories})
    columns = {one.label: [one.mean(name, path) for name in categories] for one in series}
    return pd.DataFrame(columns, index=pd.Index(categories, name="category"), dtype=float)


def comparability(series: Sequence[Series]) -> list[str]:
    """Name what makes a comparison of these series unfair.

    Parameters
    ----------
    series : sequence of Series

    Returns
    -------
    list of str
        One sentence for each difference in feature space, kind of images, rows of the bank or
        number of test images; empty if none was found in what the runs recorded.
    """
    runs = {run.folder: run for one in series for run in one.runs if not run.failed}
    found = []
    spaces = {
        str(run.feature_space["fingerprint"])
        for run in runs.values()
        if run.feature_space.get("fingerprint")
    }
    if len(spaces) > 1:
        found.append(
            f"The runs have {len(spaces)} different feature spaces: differences between them are "
            "not due to the method alone."
        )
    if {"synthetic", "real"} <= {run.images for run in runs.values()}:
        found.append("Some runs are on synthetic images and some on real ones.")
    rows = {one.label: {run.bank_rows for run in one.runs if run.bank_rows} for one in series}
    if len(set().union(*rows.values())) > 1:
        sizes_of = [
            f"{label} {'/'.join(f'{size:,}' for size in sorted(found_rows))}"
            for label, found_rows in rows.items()
            if found_rows
        ]
        found.append(f"The banks differ in rows: {', '.join(sizes_of)}.")
    for category in sorted({name for one in series for name in one.categories}):
        images = {
            int(count) for one in series for count in one.values(category, ("counts", "images"))
        }
        if len(images) > 1:
            sizes = " and ".join(str(count) for count in sorted(images))
            found.append(f"{category} was tested on {sizes} images in different runs.")
    return found


def _varying(runs: Sequence[Run]) -> list[str]:
    """Settings in which runs of one method differ and that can change a result."""
    recorded = [run.settings for run in runs if run.settings]
    keys = [key for key in Settings().to_run_config() if key not in _NO_VARIATION]
    return [key for key in keys if len({repr(settings.get(key)) for settings in recorded}) > 1]


def _shown(value: Any) -> str:
    """Value of a setting in a label; of a path its last part only."""
    return str(value).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _natural(label: str) -> list[tuple[int, float, str]]:
    """Sort key that reads numbers as numbers: 500 before 10000."""
    key = []
    for word in label.split():
        try:
            key.append((0, float(word.rstrip(",")), ""))
        except ValueError:
            key.append((1, 0.0, word))
    return key
