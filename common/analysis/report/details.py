"""What the report says beyond the headline: curves, kinds and types of defect, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

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
from common.analysis.report.results import METRIC, spro_path
from common.analysis.runs import Curve
from common.analysis.series import Series, value_table
from common.analysis.tables import with_mean_row

_LONGEST_NOTE: Final = 1000
"""The program's own words: all of a promise, and what was set aside."""
_MOST_NOTES: Final = 8


def curve_pictures(series: Sequence[Series], categories: Sequence[str]) -> list[Picture]:
    """Curves of all methods, a plot a category; of one method all categories in one plot.

    Of several seeds the first one's curve is drawn.
    """
    drawn: dict[str, dict[str, Curve]] = {}
    for category in categories:
        for one in series:
            found = (run.curves.get(one.method, {}).get(category) for run in one.runs)
            first = next((curve for curve in found if curve is not None and curve.fpr), None)
            if first is not None and len(series) == 1:
                drawn.setdefault(one.label, {})[category] = first
            elif first is not None:
                drawn.setdefault(category, {})[one.label] = first
    pictures = []
    for index, (title, curves) in enumerate(drawn.items()):
        figure = plots.plot_fpr_spro_curves(curves, title=title)
        pictures.append(picture(figure, f"curve{index}", f"{title}: mean sPRO over FPR."))
    return pictures


def defect_tables(series: Sequence[Series]) -> list[HtmlTable]:
    """Structural against logical, then every defect type."""
    kinds = {}
    for kind in ("structural", "logical"):
        table = with_mean_row(value_table(series, ("per_anomaly_kind", kind, *spro_path())))
        if table.notna().any(axis=None):
            kinds[kind] = table
    tables = [
        frame_table(
            table, f"{METRIC}: {kind} anomalies", foot=[str(table.index[-1])], mark_best=True
        )
        for kind, table in kinds.items()
    ]
    types = sorted(
        {
            (category, str(defect), str(block.get("kind", "")))
            for one in series
            for category in one.categories
            for _, metrics in one.metrics(category)
            for defect, block in (metrics.get("per_defect_type") or {}).items()
        }
    )
    if not types:
        return tables
    rows = []
    for category, defect, kind in types:
        path = ("per_defect_type", defect, *spro_path())
        values = [one.mean(category, path) for one in series]
        names = [text_cell(wording.printable(name)) for name in (category, defect, kind)]
        rows.append([*names, *map(number_cell, values)])
    columns = [("category", False), ("defect type", False), ("kind", False)]
    columns += [(one.label, True) for one in series]
    return [*tables, HtmlTable(f"{METRIC} by defect type", columns, rows)]


def threshold_table(series: Sequence[Series]) -> HtmlTable | None:
    """Thresholds and what they did on the test images; None where no run has one."""
    rows = []
    shown: list[tuple[str, Callable[[float | None], str]]] = [
        ("value", wording.number), ("held_out_images", wording.count),
        ("target_false_alarm_rate", _share), ("promised_false_alarm_rate", _share),
        ("false_alarm_rate_on_test", _share), ("detection_rate_on_test", _share),
    ]  # fmt: skip
    for one in series:
        for category in one.categories:
            values = [one.mean(category, ("threshold", key)) for key, _ in shown]
            if any(value is not None for value in values):
                cells = [number_cell(value, how) for value, (_, how) in
                         zip(values, shown, strict=True)]  # fmt: skip
                rows.append([text_cell(category), text_cell(one.label), *cells])
    if not rows:
        return None
    names = ["threshold (distance)", "held-out good images", "false alarms aimed at",
             "false alarms promised at most", "false alarms on test images",
             "defects detected on test images"]  # fmt: skip
    columns = [("category", False), ("method", False), *((name, True) for name in names)]
    said = {
        wording.printable(metrics["threshold"]["note"], _LONGEST_NOTE)
        for one in series
        for category in one.categories
        for _, metrics in one.metrics(category)
        if (metrics.get("threshold") or {}).get("note")
    }
    caption = "Thresholds, from good images held out of the bank"
    return HtmlTable(caption, columns, rows, notes=sorted(said)[:_MOST_NOTES])


def station_threshold_table(series: Sequence[Series]) -> HtmlTable | None:
    """Every station beside the others: its own threshold, its rates at the merged one, drift.

    Of several seeds the first one's stations are shown; None where no run has stations.
    """
    rows = []
    for one in series:
        for category in one.categories:
            for _, metrics in one.metrics(category)[:1]:
                stations = (metrics.get("threshold") or {}).get("stations") or {}
                rows += [
                    [text_cell(category), text_cell(one.label), text_cell(name),
                     *_station_cells(stations[name])]
                    for name in sorted(stations)
                ]  # fmt: skip
    if not rows:
        return None
    names = [
        "own threshold",
        "held-out good images",
        "promised at most",
        "judges there",
        "false alarms at the merged threshold",
        "defects detected at the merged threshold",
    ]
    columns = [("category", False), ("method", False), ("station", False)]
    columns += [(name, True) for name in names]
    columns += [("good test images against the calibration", False)]
    return HtmlTable("The same, station by station", columns, rows)


def _station_cells(facts: Mapping[str, Any]) -> list[Cell]:
    """One station's part of `metrics.json`: what it does not have is a dash."""
    drift = facts.get("drift") or {}
    whose = "its own" if facts.get("drift_calibration") == "own" else "all stations'"
    return [
        number_cell(facts.get("value"), wording.number),
        number_cell(facts.get("held_out_images"), wording.count),
        number_cell(facts.get("promised_false_alarm_rate"), _share),
        text_cell(str(facts.get("judged_by", wording.MISSING))),
        text_cell(f"{facts.get('false_alarms', 0)} of {facts.get('good_images', 0)}"),
        text_cell(f"{facts.get('detections', 0)} of {facts.get('defective_images', 0)}"),
        text_cell(f"{drift['verdict']} ({whose} calibration)" if drift else "no good test images"),
    ]


def _share(value: float | None) -> str:
    return wording.MISSING if value is None else f"{value * 100:.1f} %"
