# The public names and where they come from: read by type checkers, and by __init__.py itself.

from common import __version__ as __version__
from common.analysis import (
    compute_statistical_analysis as compute_statistical_analysis,
)
from common.analysis import (
    create_comparison_table as create_comparison_table,
)
from common.analysis import (
    create_summary_table as create_summary_table,
)
from common.analysis import (
    find_runs as find_runs,
)
from common.analysis import (
    load_run as load_run,
)
from common.analysis import (
    plot_accuracy_against_bytes as plot_accuracy_against_bytes,
)
from common.analysis import (
    plot_box_comparison as plot_box_comparison,
)
from common.analysis import (
    plot_class_bars as plot_class_bars,
)
from common.analysis import (
    plot_client_contributions as plot_client_contributions,
)
from common.analysis import (
    plot_comparison_bar_chart as plot_comparison_bar_chart,
)
from common.analysis import (
    plot_fpr_spro_curves as plot_fpr_spro_curves,
)
from common.analysis import (
    plot_partition_distribution as plot_partition_distribution,
)
from common.analysis import (
    plot_performance_heatmap as plot_performance_heatmap,
)
from common.analysis import (
    plot_sample_grid as plot_sample_grid,
)
from common.analysis import (
    visualize_anomaly_map as visualize_anomaly_map,
)
from common.analysis import (
    write_report as write_report,
)
from common.config import Settings as Settings
from common.data import (
    AutoVIDataset as AutoVIDataset,
)
from common.data import (
    CategoryPartitioner as CategoryPartitioner,
)
from common.data import (
    CategoryTransformDataset as CategoryTransformDataset,
)
from common.data import (
    DirichletPartitioner as DirichletPartitioner,
)
from common.data import (
    IIDPartitioner as IIDPartitioner,
)
from common.data import (
    TransformedSubset as TransformedSubset,
)
from common.data import (
    compute_partition_stats as compute_partition_stats,
)
from common.data import (
    create_dataloaders as create_dataloaders,
)
from common.data import (
    get_transforms as get_transforms,
)
from common.data.layout import index_data as index_data
from common.data.synthetic import write_synthetic as write_synthetic
from common.errors import FedPatchCoreError as FedPatchCoreError
from common.errors import InputError as InputError
from common.errors import RunError as RunError
from common.evaluation import (
    EvaluationCounts as EvaluationCounts,
)
from common.evaluation import (
    ExactEvaluation as ExactEvaluation,
)
from common.evaluation import (
    MetricsWrapper as MetricsWrapper,
)
from common.evaluation import (
    Threshold as Threshold,
)
from common.evaluation import (
    calibrate_threshold as calibrate_threshold,
)
from common.evaluation import (
    extract_auc_spro as extract_auc_spro,
)
from common.evaluation import (
    load_metrics as load_metrics,
)
from common.patchcore import (
    AnomalyScorer as AnomalyScorer,
)
from common.patchcore import (
    Coreset as Coreset,
)
from common.patchcore import (
    FeatureExtractor as FeatureExtractor,
)
from common.patchcore import (
    MemoryBank as MemoryBank,
)
from common.patchcore import (
    PatchCore as PatchCore,
)
from common.patchcore import (
    Prediction as Prediction,
)
from common.patchcore import (
    select_coreset as select_coreset,
)
from server_app.aggregation import AGGREGATIONS as AGGREGATIONS
