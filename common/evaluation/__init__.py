"""Exact and mergeable evaluation: AUC-sPRO, AUROC, thresholds, metrics files."""
