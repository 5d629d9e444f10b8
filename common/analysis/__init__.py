"""Statistics, tables, plots and the report."""
