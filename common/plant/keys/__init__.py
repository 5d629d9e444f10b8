"""Certificates and keys of a plant: made, read, listed."""
