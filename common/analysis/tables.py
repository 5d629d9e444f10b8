"""Tables of categories by methods, and what sums them up."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from common.analysis.runs import Results, metric_value
from common.data.names import free_word

MEAN_ROW: Final = "mean"


def results_table(results: Results, path: tuple[str, ...]) -> pd.DataFrame:
    """One number of every category and method.

    Parameters
    ----------
    results : mapping of method to category to metrics
        As `load_metrics` gives it.
    path : tuple of str
        Where the number stands in metrics.json.

    Returns
    -------
    DataFrame of float
        Categories (sorted) x methods (in the order given). NaN stands for missing.
    """
    categories = sorted({name for by_category in results.values() for name in by_category})
    columns = {
        method: [metric_value(by_category.get(name, {}), path) for name in categories]
        for method, by_category in results.items()
    }
    return pd.DataFrame(columns, index=pd.Index(categories, name="category"), dtype=float)


def shared_categories(table: pd.DataFrame) -> list[str]:
    """Categories for which every method that has any value has one.

    Only over these do means compare like with like; a method without any value is left out of the
    question, as it would leave nothing to compare.

    Parameters
    ----------
    table : DataFrame of float, categories x methods

    Returns
    -------
    list of str
        In order of the table.
    """
    present = table.dropna(axis="columns", how="all")
    return [str(name) for name in present.dropna(axis="index", how="any").index]


def with_mean_row(table: pd.DataFrame) -> pd.DataFrame:
    """Append the mean over the categories that all methods have.

    Parameters
    ----------
    table : DataFrame of float, categories x methods

    Returns
    -------
    DataFrame of float
        One row more, the last, named "mean" (and more, if a category is called so);
        `attrs["mean_over"]` lists the categories it is the mean of. NaN for a method that lacks one
        of them.
    """
    shared = shared_categories(table)
    means = table.loc[shared].mean(axis="index", skipna=False)
    whole = pd.concat([table, means.to_frame(free_word(MEAN_ROW, set(table.index))).T])
    whole.index.name = "category"
    whole.attrs["mean_over"] = shared
    return whole


def create_comparison_table(results: Results, fpr_limit: str = "0.05") -> pd.DataFrame:
    """AUC-sPRO of every category and method at one FPR limit, with the mean row.

    Parameters
    ----------
    results : mapping of method to category to metrics
        As `load_metrics` gives it.
    fpr_limit : str
        "0.01", "0.05", "0.1", "0.3" or "1.0".

    Returns
    -------
    DataFrame of float
        Categories x methods and a last row "mean" over the categories that all methods have
        (`attrs["mean_over"]`). A missing value is NaN and is never filled.

    Examples
    --------
    >>> from common.analysis import create_comparison_table
    >>> clip, screw = ({"localization": {"auc_spro": {"0.05": x}}} for x in (0.8, 0.6))
    >>> table = create_comparison_table({"local": {"clip": clip, "screw": screw}})
    >>> table.round(3)["local"].to_dict()
    {'clip': 0.8, 'screw': 0.6, 'mean': 0.7}
    """
    return with_mean_row(results_table(results, ("localization", "auc_spro", str(fpr_limit))))


def create_summary_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation, minimum, median and maximum of each method.

    Parameters
    ----------
    table : DataFrame of float, categories x methods
        Without a mean row.

    Returns
    -------
    DataFrame
        Methods x (`categories`, `mean`, `std`, `min`, `median`, `max`) over the categories that
        all methods have; `categories` is how many these are. `std` is the sample standard
        deviation (n - 1), NaN for fewer than two categories.

    Examples
    --------
    >>> import pandas as pd
    >>> from common.analysis import create_summary_table
    >>> table = pd.DataFrame({"local": [0.5, 0.7, 0.9]}, index=["clip", "pipe", "screw"])
    >>> create_summary_table(table).round(3).loc["local"].to_dict()
    {'categories': 3.0, 'mean': 0.7, 'std': 0.2, 'min': 0.5, 'median': 0.7, 'max': 0.9}
    """
    shared = table.loc[shared_categories(table)]
    columns = {
        "mean": shared.mean(skipna=False),
        "std": shared.std(ddof=1, skipna=False),
        "min": shared.min(skipna=False),
        "median": shared.median(skipna=False),
        "max": shared.max(skipna=False),
    }
    summary = pd.DataFrame(columns, index=pd.Index(table.columns, name="method"))
    summary.insert(0, "categories", len(shared))
    return summary


def gap_percent(table: pd.DataFrame, reference: str = "centralized") -> pd.DataFrame:
    """How far each method is from the reference: (method - reference) / reference x 100.

    Parameters
    ----------
    table : DataFrame of float, categories x methods
        With or without the row "mean"; the gap of that row is the gap of the means, not the mean
        of the gaps.
    reference : str
        A column of the table.

    Returns
    -------
    DataFrame of float
        The other methods in percent. NaN where one of the two is missing or the reference is 0.

    Raises
    ------
    ValueError
        If the table has no such column.
    """
    if reference not in table.columns:
        raise ValueError(f"the table has no column {reference!r}, only {list(table.columns)}")
    base = table[reference].where(table[reference] != 0, np.nan)
    others = table.drop(columns=reference)
    return others.sub(base, axis="index").div(base, axis="index") * 100
