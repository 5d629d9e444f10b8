"""Data folders, partitions, transforms and the synthetic data set."""
