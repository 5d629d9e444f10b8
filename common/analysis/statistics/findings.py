"""Key findings: sentences made from the numbers, each with what it does not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from common.analysis.runs import Run
from common.analysis.series import Series, comparability, value_table
from common.analysis.statistics.effect_size import effect_words
from common.analysis.statistics.paired import PairedComparison, StatisticalAnalysis
from common.analysis.tables import create_summary_table, gap_percent, shared_categories
from common.analysis.wording import listed, number, p_value, percent, sentence

_FEW: Final = 10
_CLOSE: Final = 5e-4  # means that read the same at three digits


def best_sentences(table: pd.DataFrame, metric: str) -> list[str]:
    """Say which method has the highest mean.

    Parameters
    ----------
    table : DataFrame of float, categories x methods
        Without a mean row.
    metric : str
        Name of the number, as "AUC-sPRO at FPR limit 0.05".

    Returns
    -------
    list of str
        One or two sentences; a tie is called one, and what no mean could be made of is named.
    """
    shared = shared_categories(table)
    means = create_summary_table(table)["mean"].dropna()
    without = [str(name) for name in table.columns if name not in means.index]
    sentences = []
    over = f"{len(shared)} {'category' if len(shared) == 1 else 'categories'}"
    if len(means) == 1:
        sentences.append(
            f"{means.index[0]} reaches a mean {metric} of {number(means.iloc[0])} over {over}."
        )
    elif len(means) > 1:
        best = [str(name) for name in means.index if means.max() - means[name] < _CLOSE]
        verb = "have" if len(best) > 1 else "has"
        sentences.append(
            f"{listed(best)} {verb} the highest mean {metric}: {number(means.max())} over the "
            f"{over} that all methods have."
        )
    if without and shared:
        sentences.append(f"No mean for {listed(without)}: values are missing.")
    elif not shared:
        sentences.append(f"No mean {metric}: no category has a value for every method.")
    return sentences


def comparison_finding(
    comparison: PairedComparison, analysis: StatisticalAnalysis, table: pd.DataFrame
) -> str:
    """Say in one or two sentences how far a method is from the reference and if that is chance.

    Parameters
    ----------
    comparison : PairedComparison
        One of `analysis.comparisons`.
    analysis : StatisticalAnalysis
    table : DataFrame of float, categories x methods
        Without a mean row; the means are over the categories that all methods have.

    Returns
    -------
    str
    """
    method, reference = comparison.method, comparison.reference
    means = create_summary_table(table)["mean"]
    gap = float(gap_percent(means.to_frame().T, reference)[method].iloc[0])
    verdict = comparison_sentences(comparison, analysis)[0]
    if gap != gap:
        return verdict
    if abs(gap) < 0.05:
        distance = f"{method} has the same mean as {reference} to within 0.1 %"
    else:
        distance = (
            f"{method} is {number(abs(gap), 1)} % {'above' if gap > 0 else 'below'} {reference}: "
            f"{number(means[method])} against {number(means[reference])}"
        )
    return f"{distance}. {sentence(verdict.partition(': ')[2])}"


def comparison_sentences(comparison: PairedComparison, analysis: StatisticalAnalysis) -> list[str]:
    """Read one comparison out in plain language.

    Parameters
    ----------
    comparison : PairedComparison
        One of `analysis.comparisons`.
    analysis : StatisticalAnalysis

    Returns
    -------
    list of str
        The verdict, the effect size, and what the number of categories allows.
    """
    pair = f"{comparison.method} against {comparison.reference}"
    pairs = len(comparison.categories)
    if comparison.verdict == "too few":
        return [f"{pair}: too few categories to test ({pairs}; at least 2 are needed)."]
    if comparison.verdict == "no difference":
        return [f"{pair}: no difference, the values are equal in all {pairs} categories."]
    known = [p for p in comparison.adjusted.values() if p is not None]
    low, high = p_value(min(known)), p_value(max(known))
    corrected = " after Holm's correction" if analysis.tested > 1 else ""
    sentences = []
    if comparison.verdict == "significant":
        sentences.append(
            f"{pair}: a statistically significant difference; every test stays below "
            f"{analysis.alpha:g} (largest p {high}{corrected})."
        )
    elif comparison.verdict == "tests disagree":
        sentences.append(
            f"{pair}: the tests disagree (p from {low} to {high}{corrected}), so the difference is "
            "not called significant."
        )
    else:
        sentences.append(
            f"{pair}: no significant difference was found (smallest p {low}{corrected}). "
            "That does not show that the two are equal."
        )
    least = min(1.0, comparison.smallest_exact_p * analysis.tested)
    if comparison.verdict != "significant" and least >= analysis.alpha:
        sentences.append(
            f"With {pairs} categories and {analysis.tested} comparison"
            f"{'s' * (analysis.tested > 1)} the exact tests cannot go below p = {least:.3f}: they "
            "could not have found any difference significant."
        )
    effect = comparison.effect
    if effect is not None and effect.d is not None:
        sentences.append(
            f"Against the spread between categories the difference is {effect_words(effect.d)} "
            f"(Cohen's d {number(effect.d, 2)})."
        )
    if comparison.note:
        sentences.append(comparison.note)
    return sentences


def anomaly_kind_sentences(series: Sequence[Series], limit: str) -> list[str]:
    """Compare structural with logical anomalies, method by method.

    Parameters
    ----------
    series : sequence of Series
    limit : str
        FPR limit of the AUC-sPRO.

    Returns
    -------
    list of str
        One sentence for each outcome that occurs, naming the series with their means over the
        categories that have both kinds.
    """
    tail = ("localization", "auc_spro", limit)
    kinds = {
        kind: value_table(series, ("per_anomaly_kind", kind, *tail))
        for kind in ("structural", "logical")
    }
    by_verdict: dict[str, list[str]] = {}
    for one in series:
        both = pd.concat({kind: table[one.label] for kind, table in kinds.items()}, axis=1).dropna()
        if both.empty:
            continue
        structural, logical = float(both["structural"].mean()), float(both["logical"].mean())
        verdict = "structural anomalies better than logical ones"
        if abs(structural - logical) < _CLOSE:
            verdict = "structural and logical anomalies alike"
        elif logical > structural:
            verdict = "logical anomalies better than structural ones"
        categories = f"{len(both)} {'category' if len(both) == 1 else 'categories'}"
        by_verdict.setdefault(verdict, []).append(
            f"{one.label} {number(structural)} structural and {number(logical)} logical, "
            f"over {categories}"
        )
    return [
        f"Localizing {verdict}: {'; '.join(numbers)} (mean AUC-sPRO at FPR limit {limit})."
        for verdict, numbers in by_verdict.items()
    ]


def caveats(series: Sequence[Series], runs: Sequence[Run], pairs: int | None) -> list[str]:
    """Say what stands between these numbers and a conclusion.

    Parameters
    ----------
    series : sequence of Series
    runs : sequence of Run
        Also those that failed.
    pairs : int or None
        Categories of the comparison; None if nothing is compared.

    Returns
    -------
    list of str
    """
    sentences = comparability(series)
    if pairs is not None and 0 < pairs < _FEW:
        sentences.append(
            f"{pairs} {'category is' if pairs == 1 else 'categories are'} few: p-values and "
            "intervals from so few pairs are rough, and other parts may behave differently."
        )
    if pairs is not None and any(len(one.runs) == 1 for one in series):
        sentences.append(
            "Methods with a single run do not show how much the seed alone would change them."
        )
    if any(run.synthetic for run in runs):
        sentences.append("Results on synthetic images say nothing about real parts.")
    if any(run.random_weights for run in runs):
        sentences.append(
            "A backbone with random weights was never trained: its results only show that the "
            "system runs."
        )
    return sentences


def gap_words(gap: float | None, reference: str) -> str:
    """Write a gap for a card: "−1.1 % against centralized"."""
    return "" if gap is None or gap != gap else f"{percent(gap)} against {reference}"
