"""Statistics, tables, plots and the report."""

from __future__ import annotations

from common.analysis.plots import (
    plot_accuracy_against_bytes,
    plot_box_comparison,
    plot_class_bars,
    plot_client_contributions,
    plot_comparison_bar_chart,
    plot_fpr_spro_curves,
    plot_partition_distribution,
    plot_performance_heatmap,
    plot_sample_grid,
    visualize_anomaly_map,
)
from common.analysis.report import GalleryPicture, write_report, write_run_plots
from common.analysis.run_files import find_runs, load_run
from common.analysis.runs import Curve, Run
from common.analysis.series import Series, group_runs, value_table
from common.analysis.statistics.paired import (
    PairedComparison,
    StatisticalAnalysis,
    compare_with_reference,
    compute_statistical_analysis,
)
from common.analysis.tables import (
    create_comparison_table,
    create_summary_table,
    gap_percent,
    results_table,
    with_mean_row,
)
from common.evaluation.metrics_files import extract_auc_spro, load_metrics

__all__ = [
    "Curve",
    "GalleryPicture",
    "PairedComparison",
    "Run",
    "Series",
    "StatisticalAnalysis",
    "compare_with_reference",
    "compute_statistical_analysis",
    "create_comparison_table",
    "create_summary_table",
    "extract_auc_spro",
    "find_runs",
    "gap_percent",
    "group_runs",
    "load_metrics",
    "load_run",
    "plot_accuracy_against_bytes",
    "plot_box_comparison",
    "plot_class_bars",
    "plot_client_contributions",
    "plot_comparison_bar_chart",
    "plot_fpr_spro_curves",
    "plot_partition_distribution",
    "plot_performance_heatmap",
    "plot_sample_grid",
    "results_table",
    "value_table",
    "visualize_anomaly_map",
    "with_mean_row",
    "write_report",
    "write_run_plots",
]
