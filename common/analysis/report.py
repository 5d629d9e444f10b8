"""The report: run folders in, one self-contained html page out; and the plots of one run."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

import pandas as pd
from matplotlib.figure import Figure

from common.analysis import plots, report_results, report_runs, wording
from common.analysis.findings import comparison_sentences, gap_words
from common.analysis.report_template import render_page
from common.analysis.runs import Run, find_runs, load_run
from common.analysis.series import Series, group_runs, value_table
from common.analysis.statistics import StatisticalAnalysis, compare_with_reference
from common.analysis.style import to_png
from common.analysis.tables import create_summary_table, gap_percent
from common.errors import InputError

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
_GALLERY_DPI: Final = 110


class GalleryPicture(TypedDict):
    """One picture of the gallery, as `visualize_anomaly_map` draws it.

    `group` heads it ("Best", "Worst"), `title` and `text` stand below; `picture` is a Figure, the
    bytes of a PNG or JPEG, or the path of one.
    """

    group: str
    title: str
    text: NotRequired[str]
    picture: Figure | bytes | Path


@dataclass(frozen=True)
class _Card:
    """One large number at the top of the page."""

    name: str
    value: str
    more: str


def write_report(
    run_dirs: Sequence[Path], out: Path, *, gallery: Sequence[GalleryPicture] | None = None
) -> Path:
    """Write one page about one run or several.

    Parameters
    ----------
    run_dirs : sequence of Path
        Run folders, or folders that hold run folders. Failed runs are named with their reason.
    out : Path
        The html file, or the folder in which `report.html` is written.
    gallery : sequence of GalleryPicture, optional
        Pictures with anomaly maps of images on this machine.

    Returns
    -------
    Path
        The page: one file, pictures inlined, without any request to a network.

    Raises
    ------
    InputError
        If a folder holds no run or a file of a run is broken.
    ValueError
        If pictures are given for a run of real stations: such a report carries none.

    Notes
    -----
    Nothing is imputed: what a run did not write is named as missing. The page is written under a
    temporary name and renamed when whole.
    """
    runs = find_runs(run_dirs)
    if gallery and any(run.real_stations for run in runs):
        raise ValueError("a report about real stations carries no pictures: leave gallery out")
    out = Path(out)
    path = out if out.suffix in (".html", ".htm") else out / "report.html"
    page = render_page(_context(runs, gallery or ()))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def write_run_plots(run_dir: Path) -> list[Path]:
    """Draw the plots of one run into its folder `plots/`.

    Parameters
    ----------
    run_dir : Path
        A run folder.

    Returns
    -------
    list of Path
        `categories.png`, `curves.png` and `contributions.png`, as far as the run has what they
        show; for several methods in one folder, `categories.png` has them side by side and every
        method has its `curves_<method>.png`.

    Raises
    ------
    InputError
        If the folder holds no run or a file of it is broken.
    """
    run = load_run(run_dir)
    folder = Path(run_dir) / "plots"
    written = []
    spro = value_table(group_runs([run]), report_results.spro_path())
    if spro.notna().any(axis=None):
        written.append(folder / "categories.png")
        plots.plot_comparison_bar_chart(spro, metric=report_results.METRIC, path=written[-1])
    for method, curves in run.curves.items():
        name = "curves.png" if len(run.curves) == 1 else f"curves_{method}.png"
        written.append(folder / name)
        plots.plot_fpr_spro_curves(curves, title=method, path=written[-1])
    if run.contributions:
        written.append(folder / "contributions.png")
        plots.plot_client_contributions(run.contributions, path=written[-1])
    return written


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


def _context(runs: Sequence[Run], gallery: Sequence[GalleryPicture]) -> dict[str, object]:
    """Everything that the page shows."""
    series = group_runs(runs)
    spro = value_table(series, report_results.spro_path())
    auroc = value_table(series, report_results.IMAGE_AUROC)
    reference = choose_reference(series, spro)
    analysis = None
    if reference is not None and len(series) > 1:
        analysis = compare_with_reference(spro, reference)
    several = len(series) > 1
    tables = report_results.category_tables(series, spro)
    federated = [run for run in runs if run.contributions]
    return {
        "title": _title(runs, series),
        "lead": _lead(runs, list(spro.index)),
        "banners": report_runs.banners(runs),
        "cards": _cards(series, runs, spro, auroc, analysis),
        "sections": _SECTIONS,
        "several": several,
        "averaged": any(len(one.runs) > 1 for one in series),
        "reference": reference,
        "findings": report_results.key_findings(series, runs, spro, auroc, analysis),
        "missing": report_results.missing_notes(series, [str(name) for name in spro.index]),
        "run_table": report_runs.run_table(runs),
        "headline": report_results.headline_table(series, spro, auroc, reference),
        "pictures": report_results.comparison_pictures(series, spro),
        "category_tables": tables,
        "main_tables": len(tables) - 1 - len(report_results.OTHER_LIMITS),
        "curves": report_results.curve_pictures(series, [str(name) for name in spro.index]),
        "defect_tables": report_results.defect_tables(series),
        "thresholds": report_results.threshold_table(series),
        "statistics": _statistics(analysis),
        "no_statistics": _no_statistics(several),
        "station_table": report_runs.station_table(runs),
        "contribution_tables": [report_runs.contribution_table(run) for run in federated],
        "contribution_pictures": report_runs.contribution_pictures(runs),
        "notices": [
            wording.printable(f"{run.name}: {notice}") for run in runs for notice in run.notices
        ],
        "gallery": _grouped(gallery),
        "no_gallery": _no_gallery(runs),
        "time_table": report_runs.time_table(runs),
        "settings_table": report_runs.settings_table(runs),
        "versions_table": report_runs.versions_table(runs),
        "commands": report_runs.repeat_commands(runs),
        "synthetic": any(run.synthetic for run in runs),
        "made": f"Written by fedpatchcore report on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    }


def _title(runs: Sequence[Run], series: Sequence[Series]) -> str:
    if len(runs) == 1:
        return f"Anomaly detection run: {series[0].label}"
    return f"Comparison of {len(runs)} anomaly detection runs"


def _lead(runs: Sequence[Run], categories: Sequence[object]) -> str:
    """What this is about, in one sentence."""
    kinds = {"synthetic" if run.synthetic else "real" for run in runs}
    parts = f"{len(categories)} categor{'y' if len(categories) == 1 else 'ies'}"
    names = f": {wording.listed([str(name) for name in categories])}" if categories else ""
    return f"PatchCore on {wording.listed(sorted(kinds))} images of {parts}{names}."


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
                wording.number(float(summary["mean"][one.label])),
                "; ".join(filter(None, [
                    over if analysis is None or one.label == analysis.reference else "",
                    gap_words(gaps.get(one.label), analysis.reference if analysis else ""),
                    verdicts.get(one.label, ""),
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


def _statistics(analysis: StatisticalAnalysis | None) -> Mapping[str, Any] | None:
    """Table and sentences; None where there is nothing to compare."""
    if analysis is None or not analysis.comparisons:
        return None
    return {
        "table": report_results.statistics_table(analysis),
        "sentences": [
            " ".join(comparison_sentences(one, analysis)) for one in analysis.comparisons
        ],
    }


def _no_statistics(several: bool) -> str:
    if several:
        return "No comparison: no method has any AUC-sPRO."
    return "A single method: there is nothing to compare it with. Give the report several runs."


def _no_gallery(runs: Sequence[Run]) -> str:
    if any(run.real_stations for run in runs):
        return (
            "No pictures: images and anomaly maps of real stations never leave them. "
            "On the station itself, “fedpatchcore inspect” draws them."
        )
    return "No pictures were given to this report."


def _grouped(gallery: Sequence[GalleryPicture]) -> list[tuple[str, list[dict[str, str]]]]:
    """Pictures under their headings, in the order given."""
    groups: dict[str, list[dict[str, str]]] = {}
    for one in gallery:
        groups.setdefault(one["group"], []).append(
            {
                "title": wording.printable(one["title"]),
                "text": wording.printable(one.get("text", "")),
                "source": _data_address(one["picture"]),
            }
        )
    return list(groups.items())


def _data_address(picture: Figure | bytes | Path) -> str:
    """Inline a picture, so that the page needs no other file."""
    if isinstance(picture, Figure):
        content = to_png(picture, _GALLERY_DPI)
    elif isinstance(picture, bytes):
        content = picture
    else:
        content = Path(picture).read_bytes()
    if content.startswith(b"\x89PNG"):
        kind = "png"
    elif content.startswith(b"\xff\xd8"):
        kind = "jpeg"
    else:
        raise InputError("a picture of the gallery is neither PNG nor JPEG")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
