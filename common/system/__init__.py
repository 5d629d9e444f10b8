"""The machine below us: how a command ends, its files and its output."""
