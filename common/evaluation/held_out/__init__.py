"""Held-out scores that may not be those of good parts."""
