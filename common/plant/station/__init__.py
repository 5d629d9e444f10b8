"""A station's own processes, and the file that describes it."""
