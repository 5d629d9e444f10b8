"""Is a difference between methods more than chance? Paired over categories, with its caveats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.analysis.runs import Results
from common.analysis.statistics.effect_size import EffectSize, effect_size, has_spread
from common.analysis.statistics.exact_tests import holm, sign_flip_p_value, wilcoxon_p_value
from common.analysis.tables import results_table

TESTS: Final = ("t_test", "wilcoxon", "permutation")
TEST_LABELS: Final = {
    "t_test": "paired t-test",
    "wilcoxon": "Wilcoxon signed-rank",
    "permutation": "sign-flip permutation",
}
# Differences closer to zero than this are rounding of equal results.
_EQUAL: Final = 1e-12


@dataclass(frozen=True)
class PairedComparison:
    """One method against the reference over the categories that both have.

    Attributes
    ----------
    method, reference : str
    categories : tuple of str
        The pairs.
    left_out : tuple of str
        Categories that one of the two lacks.
    mean_method, mean_reference, mean_difference : float or None
        Over `categories`; None if there are none.
    gap_percent : float or None
        The mean difference in percent of the reference's mean.
    p_values, adjusted : mapping of test to float or None
        Two-sided; `adjusted` by Holm over all comparisons of the analysis. None: not possible.
    t_statistic, wilcoxon_statistic : float or None
    effect : EffectSize or None
    verdict : str
        "significant" (every possible test below alpha after correction), "tests disagree",
        "not significant", "no difference" (equal in every category) or "too few" (fewer than two
        categories).
    note : str
        What could not be computed and why.
    """

    method: str
    reference: str
    categories: tuple[str, ...]
    left_out: tuple[str, ...]
    mean_method: float | None
    mean_reference: float | None
    mean_difference: float | None
    gap_percent: float | None
    p_values: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(TESTS))
    adjusted: dict[str, float | None] = field(default_factory=lambda: dict.fromkeys(TESTS))
    t_statistic: float | None = None
    wilcoxon_statistic: float | None = None
    effect: EffectSize | None = None
    verdict: str = ""
    note: str = ""

    @property
    def smallest_exact_p(self) -> float:
        """The least p-value that the exact tests can give for so many pairs: 2 / 2^n."""
        return min(1.0, 2.0 ** (1 - len(self.categories)))


@dataclass(frozen=True)
class StatisticalAnalysis:
    """All comparisons with one reference.

    Attributes
    ----------
    reference : str
    alpha : float
        Level below which a corrected p-value counts.
    comparisons : tuple of PairedComparison
        In order of the table's columns.
    """

    reference: str
    alpha: float
    comparisons: tuple[PairedComparison, ...]

    @property
    def tested(self) -> int:
        """Comparisons that took part in the correction."""
        return sum(comparison.verdict != "too few" for comparison in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        return asdict(self)


def compute_statistical_analysis(
    results: Results,
    fpr_limit: str = "0.05",
    *,
    reference: str = "centralized",
    alpha: float = 0.05,
    seed: int = 42,
) -> StatisticalAnalysis:
    """Compare the AUC-sPRO of every method with that of the reference, paired over categories.

    Parameters
    ----------
    results : mapping of method to category to metrics
        As `load_metrics` gives it.
    fpr_limit : str
        FPR limit of the AUC-sPRO.
    reference, alpha, seed
        As in `compare_with_reference`.

    Returns
    -------
    StatisticalAnalysis

    Raises
    ------
    ValueError
        If `reference` is not among the methods.

    Examples
    --------
    Three categories, all of them worse: of the eight ways to set the signs, two are as extreme.

    >>> from common.analysis import compute_statistical_analysis
    >>> def of(*values):
    ...     return {c: {"localization": {"auc_spro": {"0.05": v}}} for c, v in zip("abc", values)}
    >>> results = {"centralized": of(0.8, 0.9, 0.7), "local": of(0.7, 0.8, 0.4)}
    >>> local = compute_statistical_analysis(results).comparisons[0]
    >>> round(local.gap_percent, 2), local.p_values["permutation"], local.verdict
    (-20.83, 0.25, 'not significant')
    """
    table = results_table(results, ("localization", "auc_spro", str(fpr_limit)))
    return compare_with_reference(table, reference, alpha=alpha, seed=seed)


def compare_with_reference(
    table: pd.DataFrame, reference: str, *, alpha: float = 0.05, seed: int = 42
) -> StatisticalAnalysis:
    """Compare every column of a table with one of them, paired over its rows.

    Parameters
    ----------
    table : DataFrame of float, categories x methods
        Without a mean row; NaN is missing, and the pair is then left out.
    reference : str
        A column.
    alpha : float
        Level of the tests after correction.
    seed : int
        Seeds the bootstrap, and the permutations for more than 16 categories.

    Returns
    -------
    StatisticalAnalysis
        p-values are never NaN: None where a test is not possible, 1 where the methods are equal.

    Raises
    ------
    ValueError
        If the table has no such column.

    Notes
    -----
    The pair is the category: several seeds of one category are one number (their mean), as they
    are not independent evidence about other categories.
    """
    if reference not in table.columns:
        raise ValueError(f"the table has no column {reference!r}, only {list(table.columns)}")
    others = [str(name) for name in table.columns if name != reference]
    comparisons = [_compare(table, method, reference, seed) for method in others]
    corrected = {test: holm([one.p_values[test] for one in comparisons]) for test in TESTS}
    finished = []
    for index, comparison in enumerate(comparisons):
        adjusted = {test: corrected[test][index] for test in TESTS}
        finished.append(
            replace(
                comparison,
                adjusted=adjusted,
                verdict=comparison.verdict or _verdict(list(adjusted.values()), alpha),
            )
        )
    return StatisticalAnalysis(reference, alpha, tuple(finished))


def _compare(table: pd.DataFrame, method: str, reference: str, seed: int) -> PairedComparison:
    """Compare two columns; the verdict stays empty where it depends on the correction."""
    pairs = table[[method, reference]].dropna()
    ours = pairs[method].to_numpy(dtype=np.float64)
    theirs = pairs[reference].to_numpy(dtype=np.float64)
    names = tuple(str(name) for name in pairs.index)
    left_out = tuple(str(name) for name in table.index if str(name) not in names)
    # Rounded, so that differences which are equal on paper are ties here.
    differences = np.round(ours - theirs, 12)
    mean_ours = float(ours.mean()) if names else None
    mean_theirs = float(theirs.mean()) if names else None
    gap = None
    if mean_ours is not None and mean_theirs:
        gap = (mean_ours - mean_theirs) / mean_theirs * 100
    comparison = PairedComparison(
        method=method,
        reference=reference,
        categories=names,
        left_out=left_out,
        mean_method=mean_ours,
        mean_reference=mean_theirs,
        mean_difference=float(differences.mean()) if names else None,
        gap_percent=gap,
    )
    if len(names) < 2:
        note = f"{len(names)} shared categories: a paired test needs at least two."
        return replace(comparison, verdict="too few", note=note)
    effect = effect_size(ours, theirs, seed)
    if np.all(np.abs(differences) < _EQUAL):
        ones: dict[str, float | None] = dict.fromkeys(TESTS, 1.0)
        return replace(comparison, p_values=ones, effect=effect, verdict="no difference")
    statistic, p_wilcoxon = wilcoxon_p_value(differences, seed)
    t_statistic, p_t, note = _paired_t(differences, float(np.abs(pairs.to_numpy()).max()))
    p_values = {
        "t_test": p_t,
        "wilcoxon": p_wilcoxon,
        "permutation": sign_flip_p_value(differences, seed),
    }
    return replace(
        comparison,
        p_values=p_values,
        t_statistic=t_statistic,
        wilcoxon_statistic=statistic,
        effect=effect,
        note=" ".join(filter(None, [note, effect.note])),
    )


def _paired_t(
    differences: NDArray[np.float64], scale: float
) -> tuple[float | None, float | None, str]:
    """Paired t-test; None where all differences are the same and t would be infinite."""
    if not has_spread(differences, scale):
        return None, None, "All differences are equal: the t-test has no spread to measure by."
    from scipy import stats  # a second to import, and the report of one run needs none of it

    result = stats.ttest_1samp(differences, 0.0)
    return float(result.statistic), float(result.pvalue), ""


def _verdict(adjusted: Sequence[float | None], alpha: float) -> str:
    """Significant only if every test that was possible says so."""
    below = [p_value < alpha for p_value in adjusted if p_value is not None]
    if all(below):
        return "significant"
    return "tests disagree" if any(below) else "not significant"
