"""What the report says about results: headline, tables and plots of every category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from common.analysis import plots, wording
from common.analysis.report.parts import (
    Cell,
    HtmlTable,
    Picture,
    frame_table,
    number_cell,
    picture,
    text_cell,
)
from common.analysis.series import Series, value_table
from common.analysis.tables import MEAN_ROW, create_summary_table, gap_percent, with_mean_row
from common.data.names import free_word

MAIN_LIMIT: Final = "0.05"
OTHER_LIMITS: Final = ("0.01", "0.1", "0.3", "1.0")
IMAGE_AUROC: Final = ("classification", "auc_roc")
AVERAGE_PRECISION: Final = ("classification", "average_precision")
PIXEL_AUROC: Final = ("localization", "pixel_auc_roc")
METRIC: Final = f"AUC-sPRO at FPR limit {MAIN_LIMIT}"


def spro_path(limit: str = MAIN_LIMIT) -> tuple[str, ...]:
    """Where AUC-sPRO stands in metrics.json."""
    return ("localization", "auc_spro", limit)


def headline_table(
    series: Sequence[Series], spro: pd.DataFrame, auroc: pd.DataFrame, reference: str | None
) -> HtmlTable:
    """One row a method: what it reaches, what it costs."""
    several = len(series) > 1
    summary, image = create_summary_table(spro), create_summary_table(auroc)
    gaps: dict[str, float] = {}
    if reference is not None and several:
        of_means = gap_percent(summary[["mean"]].T, reference)
        gaps = {str(name): float(of_means[name].iloc[0]) for name in of_means.columns}
    rows = []
    for one in series:
        done = [run for run in one.runs if not run.failed]
        statistics = [
            number_cell(float(summary[key][one.label]))
            for key in ("mean", "std", "min", "median", "max")
        ]
        if summary["categories"][one.label] == 1:
            statistics[1] = text_cell("")  # one value has no spread: nothing is missing
        gap = number_cell(gaps.get(one.label), wording.percent)
        if one.label == reference:
            gap = Cell("reference", 0.0)
        rows.append([
            text_cell(one.label),
            *statistics,
            *([gap] if several else []),
            number_cell(float(image["mean"][one.label])),
            number_cell(_mean(run.bank_rows for run in done), wording.count),
            text_cell(wording.listed(sorted({str(run.bank["scope"]) for run in done
                                             if run.bank.get("scope")}))),
            number_cell(_mean(run.sent_bytes.get("up") for run in done), wording.size),
            number_cell(_mean(run.seconds.get("total") for run in done), wording.duration),
            number_cell(len(done), wording.count),
        ])  # fmt: skip
    names = ["mean", "std. dev.", "min", "median", "max", *(["gap"] if several else [])]
    columns = [("method", False), *((name, True) for name in names)]
    columns += [("image AUROC", True), ("bank rows", True), ("bank scope", False)]
    columns += [("sent", True), ("time", True), ("runs", True)]
    return HtmlTable(f"{METRIC}, and what it took", columns, rows)


def category_tables(
    series: Sequence[Series], spro: pd.DataFrame
) -> tuple[list[HtmlTable], list[HtmlTable]]:
    """Tables by category: those to show, and those to fold away.

    One method has all its numbers in one table; several have one table a number.
    """
    if len(series) == 1:
        return [_single_table(series[0], spro)], []
    main = _metric_table(series, spro_path(), METRIC)
    main.notes.extend(error_bound_notes(series))
    shown = [main]
    spread = seed_spread(series, spro)
    if spread is not None:
        shown.append(frame_table(spread, f"{METRIC}: standard deviation over seeds"))
    shown.append(_metric_table(series, IMAGE_AUROC, "Image AUROC"))
    folded = [
        _metric_table(series, AVERAGE_PRECISION, "Average precision of image scores"),
        _metric_table(series, PIXEL_AUROC, "Pixel AUROC"),
    ]
    for limit in OTHER_LIMITS:
        folded.append(_metric_table(series, spro_path(limit), f"AUC-sPRO at FPR limit {limit}"))
    return shown, folded


def seed_spread(series: Sequence[Series], spro: pd.DataFrame) -> pd.DataFrame | None:
    """Standard deviation over seeds of every category; None if no series has several runs."""
    if all(len(one.runs) < 2 for one in series):
        return None

    def deviation(one: Series, category: str) -> float:
        values = one.values(category, spro_path())
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    columns = {one.label: [deviation(one, str(name)) for name in spro.index] for one in series}
    return pd.DataFrame(columns, index=spro.index)


def error_bound_notes(series: Sequence[Series]) -> list[str]:
    """Say how exact the numbers are where they came from merged counts."""
    path = ("evaluation", "auc_error_bound", MAIN_LIMIT)
    notes = []
    for one in series:
        bounds = [bound for name in one.categories for bound in one.values(name, path)]
        if bounds and max(bounds) > 0:
            notes.append(
                f"{wording.sentence(one.label)}: from merged counts, exact to within "
                f"±{max(bounds):.1g}."
            )
    return notes


def missing_notes(series: Sequence[Series], categories: Sequence[str]) -> list[str]:
    """Every AUC-sPRO and AUROC that is missing, with its reason; failed runs once."""
    notes = []
    for one in series:
        for run in one.runs:
            if run.failed:
                notes.append(f"{one.label}, {run.name}: the run {run.ending} ({run.error})")
            notes += [f"{one.label}, {run.name}: {problem}" for problem in run.problems]
        whole = Series(one.label, one.method, tuple(run for run in one.runs if not run.failed))
        for category in categories:
            reasons: dict[str, list[str]] = {}
            for name, path in (("AUC-sPRO", spro_path()), ("image AUROC", IMAGE_AUROC)):
                for reason in whole.why_missing(category, path):
                    reasons.setdefault(reason, []).append(name)
            notes += [f"{category}, {wording.listed(n)}: {r}" for r, n in reasons.items()]
    return [wording.printable(note) for note in notes]


def comparison_pictures(series: Sequence[Series], spro: pd.DataFrame) -> list[Picture]:
    """Bars, and for several methods heatmap, boxes and accuracy against bytes."""
    spro = spro.dropna(axis="columns", how="all")
    series = [one for one in series if one.label in spro.columns]
    if not series:
        return []
    spread = seed_spread(series, spro)
    bars = plots.plot_comparison_bar_chart(spro, metric=METRIC, spread=spread)
    found = [picture(bars, "bars", f"{METRIC} by category and method. Longer is better.")]
    if len(series) < 2:
        return found
    heatmap = plots.plot_performance_heatmap(with_mean_row(spro), metric=METRIC)
    found.append(picture(heatmap, "heatmap", f"The same {METRIC} as a map; brighter is better."))
    boxes = plots.plot_box_comparison(spro, metric=METRIC)
    caption = "Spread over categories: box from lower to upper quartile, line at the median, "
    found.append(picture(boxes, "boxes", caption + "whiskers to the extremes, one dot a category."))
    points = pd.DataFrame({
        "bytes": {one.label: _mean(run.sent_bytes.get("up") for run in one.runs) for one in series},
        "accuracy": create_summary_table(spro)["mean"],
    }).loc[list(spro.columns)].astype(float)  # fmt: skip
    if (points["bytes"] > 0).any():
        figure = plots.plot_accuracy_against_bytes(points, metric=f"mean {METRIC}")
        caption = "What was reached against what stations sent; dashed: methods that send nothing."
        found.append(picture(figure, "bytes", caption))
    return found


def _single_table(one: Series, spro: pd.DataFrame) -> HtmlTable:
    """Categories x numbers of one method."""
    limits = sorted([MAIN_LIMIT, *OTHER_LIMITS], key=float)
    paths = {f"AUC-sPRO at {limit}": spro_path(limit) for limit in limits}
    paths |= {"image AUROC": IMAGE_AUROC, "average precision": AVERAGE_PRECISION}
    paths |= {"pixel AUROC": PIXEL_AUROC}
    categories = [str(name) for name in spro.index]
    numbers = {name: value_table([one], path, categories) for name, path in paths.items()}
    table = pd.concat([frame.set_axis([name], axis=1) for name, frame in numbers.items()], axis=1)
    notes = error_bound_notes([one])
    if table.isna().any(axis=None):
        notes.append("Means are over the categories that have the number.")
    foot = free_word(MEAN_ROW, set(table.index))
    table.loc[foot] = table.mean()
    return frame_table(table, "Every category", foot=[foot], notes=notes)


def _metric_table(series: Sequence[Series], path: tuple[str, ...], caption: str) -> HtmlTable:
    """Categories x methods with the mean row."""
    table = with_mean_row(value_table(series, path))
    over = [str(name) for name in table.attrs["mean_over"]]
    notes = []
    if len(over) < len(table) - 1:
        notes.append(f"Mean over the categories that all methods have: {wording.listed(over)}."
                     if over else "No mean: no category has a value for every method.")  # fmt: skip
    return frame_table(table, caption, foot=[str(table.index[-1])], mark_best=True, notes=notes)


def _mean(values: Any) -> float | None:
    """Mean of what was recorded; None if nothing was."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
