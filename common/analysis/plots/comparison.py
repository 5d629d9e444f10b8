"""Plots of a table of categories by methods: bars, heatmap, boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.analysis.plots.style import (
    HATCHES,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    finish,
    legend_above,
    new_figure,
    series_colors,
    styled,
    value_axis,
)

_MOST_LABELLED_BARS: Final = 40


@styled
def plot_comparison_bar_chart(
    table: pd.DataFrame,
    *,
    metric: str = "AUC-sPRO at FPR limit 0.05",
    spread: pd.DataFrame | None = None,
    path: Path | None = None,
) -> Figure:
    """Bars of every method, grouped by category.

    Parameters
    ----------
    table : DataFrame of float, categories x methods
        Values in [0, 1]; a missing one (NaN) is written out as "missing".
    metric : str
        Label of the axis.
    spread : DataFrame of float, optional
        Same shape: standard deviations over seeds, drawn as error bars.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import pandas as pd
    >>> from common.analysis import plot_comparison_bar_chart
    >>> table = pd.DataFrame({"local": [0.5, None], "centralized": [0.75, 0.9]}, ["clip", "pipe"])
    >>> axes = plot_comparison_bar_chart(table).axes[0]
    >>> [text.get_text() for text in axes.texts]
    ['0.50', 'missing', '0.75', '0.90']
    """
    names = [str(name) for name in table.columns]
    colors = series_colors(names)
    thickness = 0.8 / max(len(names), 1)
    figure = new_figure(1.0 + 0.1 * len(names) + 0.16 * table.shape[0] * (len(names) + 1))
    axes = figure.subplots()
    labelled = table.size <= _MOST_LABELLED_BARS
    rows = np.arange(table.shape[0])
    for index, name in enumerate(names):
        offsets = rows + (index - (len(names) - 1) / 2) * thickness
        values = table[name].to_numpy(dtype=float)
        errors = None if spread is None else spread[name].fillna(0.0).to_numpy(dtype=float)
        axes.barh(
            offsets,
            np.nan_to_num(values),
            height=thickness * 0.92,
            label=name,
            color=colors[name],
            hatch=HATCHES[index // len(PALETTE) % len(HATCHES)],
            xerr=errors,
            error_kw={"ecolor": INK, "elinewidth": 0.9},
        )
        for row, value in enumerate(values):
            missing = bool(np.isnan(value))
            if not (labelled or missing):
                continue
            past = 0.0 if missing else value + (0.0 if errors is None else errors[row])
            axes.text(
                past + 0.01,
                offsets[row],
                "missing" if missing else f"{value:.2f}",
                va="center",
                fontsize=7,
                color=MUTED,
                style="italic" if missing else "normal",
            )
    axes.set_yticks(rows, [str(name) for name in table.index])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 1.08)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.tick_params(axis="y", length=0)
    value_axis(axes, f"{metric}{' (mean ± std. dev. of seeds)' * (spread is not None)}")
    legend_above(axes, names)
    return finish(figure, path)


@styled
def plot_performance_heatmap(
    table: pd.DataFrame,
    *,
    metric: str = "AUC-sPRO at FPR limit 0.05",
    path: Path | None = None,
) -> Figure:
    """Matrix of categories by methods, coloured and written by value.

    Parameters
    ----------
    table : DataFrame of float, categories x methods
        A missing value (NaN) is an empty cell that says so.
    metric : str
        Label of the colour bar.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import pandas as pd
    >>> from common.analysis import plot_performance_heatmap
    >>> table = pd.DataFrame({"local": [0.5, 0.7], "centralized": [0.75, 0.9]}, ["clip", "pipe"])
    >>> axes = plot_performance_heatmap(table).axes[0]
    >>> [text.get_text() for text in axes.texts]  # row by row
    ['0.500', '0.750', '0.700', '0.900']
    """
    figure = new_figure(1.5 + 0.34 * table.shape[0])
    axes = figure.subplots()
    values = np.ma.masked_invalid(table.to_numpy(dtype=float))
    low, high = (float(values.min()), float(values.max())) if values.count() else (0.0, 1.0)
    low, high = (
        np.floor(low * 20) / 20,
        max(np.ceil(high * 20) / 20, np.floor(low * 20) / 20 + 0.05),
    )
    colormap = mpl.colormaps["cividis"]
    mesh = axes.pcolormesh(
        values, cmap=colormap, vmin=low, vmax=high, edgecolors=PAPER, linewidth=2
    )
    for (row, column), masked in np.ndenumerate(np.ma.getmaskarray(values)):
        share = 0.0 if masked else (float(values[row, column]) - low) / (high - low)
        axes.text(
            column + 0.5,
            row + 0.5,
            "missing" if masked else f"{values[row, column]:.3f}",
            ha="center",
            va="center",
            fontsize=8,
            style="italic" if masked else "normal",
            color=MUTED if masked else ("#000000" if share > 0.5 else "#ffffff"),
        )
    columns = [_wrapped(str(name)) for name in table.columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=8)
    axes.set_yticks(np.arange(table.shape[0]) + 0.5, [str(name) for name in table.index])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    bar = figure.colorbar(mesh, ax=axes, location="bottom", fraction=0.05, aspect=40, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(metric)
    return finish(figure, path)


@styled
def plot_box_comparison(
    table: pd.DataFrame,
    *,
    metric: str = "AUC-sPRO at FPR limit 0.05",
    path: Path | None = None,
) -> Figure:
    """Spread of each method over categories: box, median, extremes and every point.

    Parameters
    ----------
    table : DataFrame of float, categories x methods
        Missing values (NaN) are left out; the number of points stands beside each name.
    metric : str
        Label of the axis.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure
        Boxes from the lower to the upper quartile, whiskers to the extremes.

    Examples
    --------
    >>> import pandas as pd
    >>> from common.analysis import plot_box_comparison
    >>> table = pd.DataFrame({"local": [0.5, None], "centralized": [0.75, 0.9]}, ["clip", "pipe"])
    >>> axes = plot_box_comparison(table).axes[0]
    >>> [label.get_text().splitlines() for label in axes.get_yticklabels()]
    [['local', '(1 category)'], ['centralized', '(2 categories)']]
    """
    names = [str(name) for name in table.columns]
    colors = series_colors(names)
    figure = new_figure(1.0 + 0.5 * len(names))
    axes = figure.subplots()
    points = [table[name].dropna().to_numpy(dtype=float) for name in names]
    boxes = axes.boxplot(
        points,
        orientation="horizontal",
        whis=(0, 100),
        widths=0.5,
        patch_artist=True,
        medianprops={"color": INK, "linewidth": 1.6},
        whiskerprops={"color": MUTED},
        capprops={"color": MUTED},
        boxprops={"edgecolor": MUTED},
    )
    for index, (name, box) in enumerate(zip(names, boxes["boxes"], strict=True)):
        box.set_facecolor((*mpl.colors.to_rgb(colors[name]), 0.35))
        # Neighbouring points are set apart by their order, not by chance.
        heights = index + 1 + 0.16 * (np.arange(len(points[index])) % 3 - 1)
        axes.plot(points[index], heights, "o", markersize=4, color=colors[name],
                  markeredgecolor=INK, markeredgewidth=0.5)  # fmt: skip
    labels = [
        f"{_wrapped(name)}\n({len(found)} {'category' if len(found) == 1 else 'categories'})"
        for name, found in zip(names, points, strict=True)
    ]
    axes.set_yticks(np.arange(1, len(names) + 1), labels)
    axes.set_ylim(len(names) + 0.6, 0.4)
    axes.tick_params(axis="y", length=0)
    value_axis(axes, metric)
    return finish(figure, path)


def _wrapped(name: str) -> str:
    """Break a label at its commas, so that columns stay narrow."""
    return name.replace(", ", ",\n")
