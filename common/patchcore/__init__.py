"""PatchCore: backbone, patch features, coreset, memory bank, model."""
