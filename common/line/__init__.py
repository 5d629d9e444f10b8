"""The detector at the line: model versions, journal, service."""
