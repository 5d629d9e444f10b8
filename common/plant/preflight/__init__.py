"""Everything that would stop a station in a run, found before it starts."""
