"""Plots about data and stations: partitions, contributions, class counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

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
    new_figure,
    series_colors,
    styled,
    value_axis,
)
from common.data.names import free_word
from common.data.partition import TOTAL

GOOD_COLOR: Final = "#2c8651"
DEFECTIVE_COLOR: Final = "#ee5f14"
TRAIN_COLOR: Final = "#4aa8e8"


@styled
def plot_partition_distribution(
    stats: pd.DataFrame, *, title: str | None = None, path: Path | None = None
) -> Figure:
    """Images of every station, stacked by category.

    Parameters
    ----------
    stats : DataFrame of int, stations x categories
        Numbers of images, as `compute_partition_stats` gives them (its `total` is not drawn).
    title : str, optional
        Usually the partition.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure
        One bar a station, its total at the end.

    Examples
    --------
    >>> import pandas as pd
    >>> from common.analysis import plot_partition_distribution
    >>> stats = pd.DataFrame({"clip": [30, 0], "screw": [10, 25]}, index=["north", "south"])
    >>> axes = plot_partition_distribution(stats).axes[0]
    >>> [text.get_text() for text in axes.texts]
    [' 40', ' 25']
    """
    *others, last = map(str, stats.columns)
    counts = stats.drop(columns=[last] if last == free_word(TOTAL, others) else []).fillna(0)
    names = [str(name) for name in counts.columns]
    colors = series_colors(names)
    figure = new_figure(1.25 + 0.18 * ((len(names) + 2) // 3) + 0.3 * len(counts))
    axes = figure.subplots()
    rows = np.arange(len(counts))
    left = np.zeros(len(counts))
    for index, name in enumerate(names):
        values = counts[name].to_numpy(dtype=float)
        axes.barh(
            rows, values, left=left, height=0.7, label=name, color=colors[name],
            hatch=HATCHES[index // len(PALETTE) % len(HATCHES)], edgecolor=PAPER, linewidth=0.8,
        )  # fmt: skip
        left += values
    for row, total in enumerate(left):
        axes.text(total, row, f" {total:,.0f}", va="center", fontsize=8, color=MUTED)
    _station_axis(axes, [str(name) for name in counts.index])
    axes.margins(x=0.1)
    value_axis(axes, "training images (count)")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, handlelength=1.2, columnspacing=1.0
    )
    return finish(figure, path)


@styled
def plot_client_contributions(
    contributions: Sequence[Mapping[str, Any]], *, path: Path | None = None
) -> Figure:
    """What every station brought: images, rows sent and chosen, bytes.

    Parameters
    ----------
    contributions : sequence of mapping
        The stations of contributions.json, with `name`, `images`, `rows_sent`, `rows_chosen`,
        `bytes`. What a station did not report is left blank.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure
        Three panels with the stations as shared rows.

    Examples
    --------
    >>> from common.analysis import plot_client_contributions
    >>> north = {"name": "north", "images": 30, "rows_sent": 80, "rows_chosen": 60}
    >>> images, rows, _ = plot_client_contributions([north | {"bytes": 245_760}]).axes
    >>> [float(bar.get_width()) for bar in (*images.patches, *rows.patches)]
    [30.0, 80.0, 60.0]
    """
    stations = pd.DataFrame(list(contributions))
    if "name" not in stations:
        stations["name"] = "?"
    for column in ("images", "rows_sent", "rows_chosen", "bytes"):
        reported = stations[column] if column in stations else pd.Series(np.nan, stations.index)
        stations[column] = pd.to_numeric(reported, errors="coerce")
    rows = np.arange(len(stations))
    figure = new_figure(1.3 + 0.4 * len(stations))
    panels = figure.subplots(1, 3, sharey=True)
    panels[0].barh(rows, stations["images"], height=0.6, color=TRAIN_COLOR)
    value_axis(panels[0], "training images\n(count)")
    for offset, column, label, color, hatch in (
        (-0.18, "rows_sent", "sent", "#ccb463", ""),
        (0.18, "rows_chosen", "chosen", "#5b2bd6", "///"),
    ):
        panels[1].barh(
            rows + offset, stations[column], height=0.34, label=label, color=color, hatch=hatch,
            edgecolor=PAPER, linewidth=0.5,
        )  # fmt: skip
    panels[1].legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), ncols=2, handlelength=1.2,
                     columnspacing=0.8, borderaxespad=0.1)  # fmt: skip
    value_axis(panels[1], "rows of the bank\n(count)")
    panels[2].barh(rows, stations["bytes"] / 1e6, height=0.6, color="#565c66")
    value_axis(panels[2], "bytes sent\n(MB)")
    _station_axis(panels[0], [str(name) for name in stations["name"]])
    for panel in panels:
        panel.margins(x=0.08)
        panel.locator_params(axis="x", nbins=3)
        panel.tick_params(axis="y", length=0)
    return finish(figure, path)


@styled
def plot_class_bars(counts: pd.DataFrame, *, path: Path | None = None) -> Figure:
    """Training images, and good and defective test images, of every category.

    Parameters
    ----------
    counts : DataFrame of int with columns `train_good`, `test_good`, `test_defective`
        One row a category.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure
        Two panels with the categories as shared rows. Green and red differ in brightness and in
        hatching too.

    Examples
    --------
    >>> import pandas as pd
    >>> from common.analysis import plot_class_bars
    >>> counts = {"train_good": [1200], "test_good": [9], "test_defective": [4]}
    >>> train, test = plot_class_bars(pd.DataFrame(counts, index=["clip"])).axes
    >>> [text.get_text() for text in (*train.texts, *test.texts)]
    ['1,200', '9', '4']
    """
    rows = np.arange(len(counts))
    figure = new_figure(1.2 + 0.36 * len(counts))
    train, test = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.4))
    bars = train.barh(rows, counts["train_good"], height=0.6, color=TRAIN_COLOR)
    train.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7.5, color=MUTED)
    train.set_title("train (all good)")
    for offset, column, label, color, hatch in (
        (-0.19, "test_good", "good", GOOD_COLOR, ""),
        (0.19, "test_defective", "defective", DEFECTIVE_COLOR, "///"),
    ):
        bars = test.barh(
            rows + offset, counts[column], height=0.36, label=label, color=color, hatch=hatch,
            edgecolor=PAPER, linewidth=0.5,
        )  # fmt: skip
        test.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=7.5, color=MUTED)
    test.set_title("test")
    test.legend(loc="lower right", bbox_to_anchor=(1, 1.0), ncols=2, handlelength=1.2,
                columnspacing=0.8, borderaxespad=0.1)  # fmt: skip
    _station_axis(train, [str(name) for name in counts.index])
    for panel in (train, test):
        panel.margins(x=0.18)
        panel.locator_params(axis="x", nbins=4)
        panel.tick_params(axis="y", length=0)
        value_axis(panel, "images (count)")
    return finish(figure, path)


def _station_axis(axes: Any, names: list[str]) -> None:
    """Write names beside the rows, first one on top."""
    axes.set_yticks(np.arange(len(names)), names, color=INK)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
