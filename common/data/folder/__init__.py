"""A data folder as it is found: one walk over it, its parts and their faults."""
