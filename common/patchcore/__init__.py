"""PatchCore: backbone, patch features, coreset, memory bank, model.

The names below are imported when they are first used: torch takes seconds to import, and the tables
of names in this room are read by commands that need none of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.patchcore.anomaly_map import AnomalyScorer
    from common.patchcore.coreset import Coreset, select_coreset
    from common.patchcore.memory_bank import MemoryBank
    from common.patchcore.model import PatchCore, Prediction
    from common.patchcore.network.backbone import FeatureExtractor

__all__ = [
    "AnomalyScorer",
    "Coreset",
    "FeatureExtractor",
    "MemoryBank",
    "PatchCore",
    "Prediction",
    "select_coreset",
]

_MODULES = {
    "AnomalyScorer": "anomaly_map",
    "Coreset": "coreset",
    "FeatureExtractor": "network.backbone",
    "MemoryBank": "memory_bank",
    "PatchCore": "model",
    "Prediction": "model",
    "select_coreset": "coreset",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
