"""The `fedpatchcore` command, one file a subject."""
