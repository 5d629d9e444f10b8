"""The evaluation as counts that stations can send and a server can add."""
