"""Plots of curves and costs: sPRO over the false-positive rate, accuracy against bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.analysis.plots.style import (
    DASHES,
    INK,
    MARKERS,
    MUTED,
    finish,
    legend_above,
    new_figure,
    series_colors,
    styled,
    value_axis,
)
from common.analysis.runs import Curve
from common.evaluation.curve import FPR_LIMITS


@styled
def plot_fpr_spro_curves(
    curves: Mapping[str, Curve],
    *,
    limits: Sequence[float] = FPR_LIMITS,
    title: str | None = None,
    path: Path | None = None,
) -> Figure:
    """Mean sPRO over the false-positive rate, with the FPR limits marked.

    Parameters
    ----------
    curves : mapping of name to Curve
        One line each: methods of one category, or categories of one method.
    limits : sequence of float
        FPR limits to mark by vertical lines.
    title : str, optional
        Usually the category.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure
        The FPR is on a logarithmic axis from 0.001, as the limits are.

    Examples
    --------
    >>> from common.analysis import Curve, plot_fpr_spro_curves
    >>> curve = Curve(fpr=(0.0, 0.1, 1.0), spro=(0.5, 0.8, 1.0))
    >>> axes = plot_fpr_spro_curves({"local": curve}, limits=[0.05, 0.3]).axes[0]
    >>> [text.get_text() for text in axes.texts], axes.lines[-1].get_ydata().tolist()
    (['0.05', '0.3'], [0.5, 0.8, 1.0])
    """
    names = list(curves)
    colors = series_colors(names)
    figure = new_figure(3.4)
    axes = figure.subplots()
    for limit in limits:
        axes.axvline(limit, color=MUTED, linewidth=0.7, linestyle=(0, (2, 3)))
        axes.text(limit, 1.015, f"{limit:g}", ha="center", va="bottom", fontsize=7.5, color=MUTED)
    for index, name in enumerate(names):
        kept = _drawn_points(curves[name])
        axes.plot(
            np.array(curves[name].fpr)[kept],
            np.array(curves[name].spro)[kept],
            label=name,
            color=colors[name],
            linestyle=DASHES[index % len(DASHES)],
            linewidth=1.8,
        )
    axes.set_xscale("log")
    axes.set_xlim(1e-3, 1.0)
    axes.set_xticks([0.001, 0.01, 0.1, 1.0], ["0.001", "0.01", "0.1", "1"])
    axes.set_ylim(0, 1.0)
    axes.set_xlabel("false-positive rate of normal pixels (share, log scale); dashed: FPR limits")
    value_axis(axes, "mean sPRO (share)", axis="y")
    if title:
        axes.set_title(title, pad=16)
    if names:
        axes.legend(loc="upper left" if len(names) < 4 else "best", fontsize=8)
    return finish(figure, path)


@styled
def plot_accuracy_against_bytes(
    points: pd.DataFrame,
    *,
    metric: str = "mean AUC-sPRO at FPR limit 0.05",
    path: Path | None = None,
) -> Figure:
    """What was reached against what was sent.

    Parameters
    ----------
    points : DataFrame with columns `bytes` and `accuracy`
        One row a method. Rows with 0 bytes or none (a baseline in one place sends no bank) are
        drawn as a line across; rows without accuracy are left out.
    metric : str
        Label of the axis.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure

    Examples
    --------
    >>> import pandas as pd
    >>> from common.analysis import plot_accuracy_against_bytes
    >>> points = {"bytes": [0, 3_000_000], "accuracy": [0.9, 0.8]}
    >>> points = pd.DataFrame(points, index=["centralized", "federated_iid"])
    >>> line, point = plot_accuracy_against_bytes(points).axes[0].lines
    >>> line.get_linestyle(), float(point.get_xdata()[0])  # in MB
    ('--', 3.0)
    """
    figure = new_figure(2.8 + 0.15 * len(points))
    axes = figure.subplots()
    known = points.dropna(subset=["accuracy"])
    colors = series_colors([str(name) for name in known.index])
    labels: list[str] = []
    for index, (name, row) in enumerate(known.iterrows()):
        label, color = str(name), colors[str(name)]
        labels.append(label)
        if not row["bytes"] > 0:
            axes.axhline(row["accuracy"], color=color, linestyle="--", label=label)
            continue
        axes.plot(
            row["bytes"] / 1e6, row["accuracy"], MARKERS[index % len(MARKERS)], markersize=8,
            color=color, markeredgecolor=INK, markeredgewidth=0.6, label=label,
        )  # fmt: skip
    sent = known["bytes"].max() / 1e6 if len(known) else 0.0
    axes.set_xlim(0, 1.15 * sent if sent > 0 else 1.0)
    axes.margins(y=0.25)
    axes.set_xlabel("sent by all stations together (MB, 1 MB = 1,000,000 bytes)")
    value_axis(axes, metric, axis="y")
    legend_above(axes, labels)
    return finish(figure, path)


def _drawn_points(curve: Curve) -> NDArray[np.intp]:
    """Points of a curve that can be told apart on the logarithmic axis: at most 400."""
    if len(curve.fpr) <= 400:
        return np.arange(len(curve.fpr))
    return np.unique(np.searchsorted(curve.fpr, np.geomspace(1e-3, curve.fpr[-1], 400)))
