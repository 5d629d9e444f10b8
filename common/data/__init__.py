"""Data folders, partitions, transforms and the synthetic data set.

The names below are imported when they are first used: torch and torchvision take seconds to
import, and much that reads a data folder needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = ("dataset", "partition", "transforms")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
