"""PatchCore: backbone, patch features, coreset, memory bank, model."""

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
