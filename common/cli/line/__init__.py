"""Commands for the detector at the line."""
