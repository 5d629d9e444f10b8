"""Everything that the page of the report shows, from runs to the template's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from common.analysis import wording
from common.analysis.report import details as report_details
from common.analysis.report import results as report_results
from common.analysis.report import runs as report_runs
from common.analysis.report import stations as report_stations
from common.analysis.report import statistics as report_statistics
from common.analysis.runs import Run
from common.analysis.series import Series, group_runs, value_table
from common.analysis.statistics.findings import gap_words
from common.analysis.statistics.paired import StatisticalAnalysis, compare_with_reference
from common.analysis.tables import create_summary_table, gap_percent

_SECTIONS: Final = (
    ("findings", "Key findings"),
    ("runs", "Runs"),
    ("headline", "Results"),
    ("categories", "By category"),
    ("curves", "Curves"),
    ("defects", "Defects"),
    ("thresholds", "Thresholds"),
    ("statistics", "Statistics"),
    ("stations", "Who took part"),
    ("gallery", "Gallery"),
    ("settings", "Settings"),
    ("repeat", "How to repeat it"),
    ("words", "Meaning of the numbers"),
)


_VERDICTS: Final = {
    "significant": "significant difference",
    "not significant": "not significant",
    "tests disagree": "not significant (tests disagree)",
    "no difference": "no difference in any category",
    "too few": "nothing to compare",
}


@dataclass(frozen=True)
class _Card:
    """One large number at the top of the page."""

    name: str
    value: str
    more: str


def choose_reference(series: Sequence[Series], table: pd.DataFrame) -> str | None:
    """Name the method that others are compared with.

    Parameters
    ----------
    series : sequence of Series
    table : DataFrame of float, categories x labels

    Returns
    -------
    str or None
        The first centralized series with values, else the first series with values, else None.
    """
    with_values = [one for one in series if table[one.label].notna().any()]
    central = [one for one in with_values if one.method == "centralized"]
    return (central or with_values)[0].label if with_values else None


def page_context(
    runs: Sequence[Run], gallery: Sequence[tuple[str, list[dict[str, str]]]]
) -> dict[str, object]:
    """Everything that the page shows.

    Parameters
    ----------
    runs : sequence of Run
    gallery : sequence of (str, list of dict)
        Headings with their pictures: `title`, `text` and `source` (a data address).

    Returns
    -------
    dict
        By the names that the template uses.
    """
    series = group_runs(runs)
    spro = value_table(series, report_results.spro_path())
    auroc = value_table(series, report_results.IMAGE_AUROC)
    reference = choose_reference(series, spro)
    analysis = None
    if reference is not None and len(series) > 1:
        analysis = compare_with_reference(spro, reference)
    several = len(series) > 1
    shown, folded = report_results.category_tables(series, spro)
    return {
        "title": _title(runs, series),
        "lead": _lead(runs, list(spro.index)),
        "banners": report_runs.banners(runs),
        "cards": _cards(series, runs, spro, auroc, analysis),
        "sections": _SECTIONS,
        "several": several,
        "averaged": any(len(one.runs) > 1 for one in series),
        "reference": reference,
        "findings": report_statistics.key_findings(series, runs, spro, auroc, analysis),
        "missing": report_results.missing_notes(series, [str(name) for name in spro.index]),
        "run_table": report_runs.run_table(runs),
        "headline": report_results.headline_table(series, spro, auroc, reference),
        "pictures": report_results.comparison_pictures(series, spro),
        "category_tables": shown,
        "folded_tables": folded,
        "curves": report_details.curve_pictures(series, [str(name) for name in spro.index]),
        "defect_tables": report_details.defect_tables(series),
        "thresholds": report_details.threshold_table(series),
        "station_thresholds": report_details.station_threshold_table(series),
        "statistics": report_statistics.statistics_part(analysis),
        "no_statistics": report_statistics.no_statistics(several),
        "participation": report_stations.participation(runs),
        "absent_table": report_stations.station_table(runs, absent_only=True),
        "station_table": report_stations.station_table(runs),
        "influence_table": report_stations.influence_table(runs),
        "contributions": report_stations.contributions(
            runs, drawn={one.runs[0].folder for one in series}
        ),
        "notices": [
            wording.printable(f"{run.name}: {notice}") for run in runs for notice in run.notices
        ],
        "gallery": gallery,
        "no_gallery": _no_gallery(runs),
        "time_table": report_runs.time_table(runs),
        "settings_table": report_runs.settings_table(runs),
        "versions_table": report_runs.versions_table(runs),
        "commands": report_runs.repeat_commands(runs),
        "synthetic": any(run.synthetic for run in runs),
        "plant": any(run.real_stations for run in runs),
        "made": f"Written by fedpatchcore report on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    }


def _title(runs: Sequence[Run], series: Sequence[Series]) -> str:
    if len(runs) == 1:
        return f"Anomaly detection run: {series[0].label}"
    return f"Comparison of {len(runs)} anomaly detection runs"


def _lead(runs: Sequence[Run], categories: Sequence[object]) -> str:
    """What this is about, in one sentence."""
    kinds = {run.images for run in runs if run.images != "not recorded"}
    parts = f"{len(categories)} categor{'y' if len(categories) == 1 else 'ies'}"
    names = f": {wording.listed([str(name) for name in categories])}" if categories else ""
    images = f"{wording.listed(sorted(kinds))} images".strip()
    return f"PatchCore on {images} of {parts}{names}."


def _cards(
    series: Sequence[Series], runs: Sequence[Run], spro: pd.DataFrame, auroc: pd.DataFrame,
    analysis: StatisticalAnalysis | None,
) -> list[_Card]:  # fmt: skip
    """Large numbers: a card a method, or the main figures of a single run."""
    summary = create_summary_table(spro)
    over = f"mean AUC-sPRO at FPR limit {report_results.MAIN_LIMIT}"
    if len(series) > 1:
        verdicts = {one.method: one.verdict for one in analysis.comparisons} if analysis else {}
        gaps: dict[str, float] = {}
        if analysis is not None:
            of_means = gap_percent(summary[["mean"]].T, analysis.reference)
            gaps = {str(name): float(of_means[name].iloc[0]) for name in of_means.columns}
        return [
            _Card(
                one.label,
                "failed" if all(run.failed for run in one.runs)
                else wording.number(float(summary["mean"][one.label])),
                "; ".join(filter(None, [
                    over if analysis is None or one.label == analysis.reference else "",
                    gap_words(gaps.get(one.label), analysis.reference if analysis else ""),
                    _VERDICTS.get(verdicts.get(one.label, ""), ""),
                ])),
            )
            for one in series
        ]  # fmt: skip
    run, label = runs[0], series[0].label
    images = create_summary_table(auroc)
    used = sum(station.get("status") == "used" for station in run.stations)
    cards = [
        _Card("AUC-sPRO", wording.number(float(summary["mean"][label])), over),
        _Card("Image AUROC", wording.number(float(images["mean"][label])), "mean of categories"),
    ]
    if run.stations:
        cards.append(_Card("Stations", f"{used} of {len(run.stations)}", "took part"))
    if run.sent_bytes.get("up"):
        cards.append(_Card("Sent", wording.size(run.sent_bytes["up"]), "by all stations together"))
    if run.seconds.get("total"):
        cards.append(_Card("Time", wording.duration(run.seconds["total"]), "from start to end"))
    return cards


def _no_gallery(runs: Sequence[Run]) -> str:
    if any(run.real_stations for run in runs):
        return (
            "No pictures: images and anomaly maps of real stations never leave them. "
            "On the station itself, “fedpatchcore inspect” draws them."
        )
    return "No pictures were given to this report."
