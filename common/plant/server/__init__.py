"""The server's processes: SuperLink, executor, gateway, runs and their results."""
