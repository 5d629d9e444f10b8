"""The last step of a run on a real plant: every station gets the finished model."""
