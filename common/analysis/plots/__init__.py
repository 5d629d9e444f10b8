"""Every plot under one name; each returns a Figure and saves it where `path` says."""

from __future__ import annotations

from common.analysis.plots.comparison import (
    plot_box_comparison,
    plot_comparison_bar_chart,
    plot_performance_heatmap,
)
from common.analysis.plots.curves import plot_accuracy_against_bytes, plot_fpr_spro_curves
from common.analysis.plots.images import plot_sample_grid, visualize_anomaly_map
from common.analysis.plots.stations import (
    plot_class_bars,
    plot_client_contributions,
    plot_partition_distribution,
)

__all__ = [
    "plot_accuracy_against_bytes",
    "plot_box_comparison",
    "plot_class_bars",
    "plot_client_contributions",
    "plot_comparison_bar_chart",
    "plot_fpr_spro_curves",
    "plot_partition_distribution",
    "plot_performance_heatmap",
    "plot_sample_grid",
    "visualize_anomaly_map",
]
