"""What the report says about differences: key findings, tests, plain-language reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from common.analysis import wording
from common.analysis.report.parts import Cell, HtmlTable, number_cell, text_cell
from common.analysis.report.results import MAIN_LIMIT, METRIC
from common.analysis.runs import Run
from common.analysis.series import Series
from common.analysis.statistics import findings
from common.analysis.statistics.paired import TEST_LABELS, TESTS, StatisticalAnalysis


def statistics_part(analysis: StatisticalAnalysis | None) -> Mapping[str, Any] | None:
    """Table and sentences; None where there is nothing to compare."""
    if analysis is None or not analysis.comparisons:
        return None
    sentences = [
        " ".join(findings.comparison_sentences(one, analysis)) for one in analysis.comparisons
    ]
    return {
        "table": statistics_table(analysis),
        "sentences": [wording.sentence(text) for text in sentences],
    }


def no_statistics(several: bool) -> str:
    """Say why there is no comparison."""
    if several:
        return "No comparison: no method has any AUC-sPRO."
    return "A single method: there is nothing to compare it with. Give the report several runs."


def statistics_table(analysis: StatisticalAnalysis) -> HtmlTable:
    """Every test of every comparison, with effect sizes."""
    rows = []
    for one in analysis.comparisons:
        effect = one.effect
        rows.append([
            text_cell(one.method),
            number_cell(len(one.categories), wording.count),
            number_cell(one.mean_difference, lambda value: wording.number(value, 4)),
            *(_p_cells(one.p_values[test], one.adjusted[test]) for test in TESTS),
            _effect_cell(effect.d, effect.d_interval) if effect else text_cell(""),
            _effect_cell(effect.d_z, effect.d_z_interval) if effect else text_cell(""),
            text_cell(one.verdict),
        ])  # fmt: skip
    columns = [("method", False), ("categories", True), ("mean difference", True)]
    columns += [(f"p, {TEST_LABELS[test]}", True) for test in TESTS]
    columns += [("Cohen's d (pooled)", True), ("d_z (paired)", True), ("verdict", False)]
    several = " (corrected by Holm in brackets)" if analysis.tested > 1 else ""
    caption = f"{METRIC} against {analysis.reference}, paired over categories{several}"
    return HtmlTable(caption, columns, rows)


def key_findings(
    series: Sequence[Series],
    runs: Sequence[Run],
    spro: pd.DataFrame,
    auroc: pd.DataFrame,
    analysis: StatisticalAnalysis | None,
) -> dict[str, list[str]]:
    """Sentences for the top of the page, and the caveats beside them."""
    sentences: list[str] = []
    pairs = None
    if spro.notna().any(axis=None):
        sentences += findings.best_sentences(spro, METRIC)
    if analysis is not None:
        sentences += [
            findings.comparison_finding(one, analysis, spro) for one in analysis.comparisons
        ]
        pairs = max((len(one.categories) for one in analysis.comparisons), default=0)
    sentences += findings.anomaly_kind_sentences(series, MAIN_LIMIT)
    if auroc.notna().any(axis=None):
        sentences += findings.best_sentences(auroc, "image AUROC")[:1]
    return {
        "sentences": [wording.sentence(text) for text in sentences],
        "caveats": [wording.sentence(text) for text in findings.caveats(series, runs, pairs)],
    }


def _p_cells(raw: float | None, adjusted: float | None) -> Cell:
    if raw is None:
        return Cell("not possible", float("inf"), missing=True)
    shown = wording.p_value(raw)
    same = adjusted is None or adjusted == raw
    return Cell(shown if same else f"{shown} ({wording.p_value(adjusted)})", raw)


def _effect_cell(value: float | None, interval: Any) -> Cell:
    if value is None:
        return Cell("undefined", float("inf"), missing=True)
    text = wording.number(value, 2)
    if interval:
        text += f" [{wording.number(interval[0], 2)}, {wording.number(interval[1], 2)}]"
    return Cell(text, value)
