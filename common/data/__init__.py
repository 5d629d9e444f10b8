"""Data folders, partitions, transforms and the synthetic data set."""

from common.data.dataset import CATEGORIES, AutoVIDataset
from common.data.partition import (
    CategoryPartitioner,
    DirichletPartitioner,
    IIDPartitioner,
    compute_partition_stats,
)
from common.data.transforms import (
    CategoryTransformDataset,
    TransformedSubset,
    create_dataloaders,
    get_transforms,
)

__all__ = [
    "CATEGORIES",
    "AutoVIDataset",
    "CategoryPartitioner",
    "CategoryTransformDataset",
    "DirichletPartitioner",
    "IIDPartitioner",
    "TransformedSubset",
    "compute_partition_stats",
    "create_dataloaders",
    "get_transforms",
]
