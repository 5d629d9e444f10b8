"""The frozen network: backbones, weights, feature space, features and their cache."""
