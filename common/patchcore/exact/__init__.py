"""The engine: farthest-first selection and nearest neighbours, exact and fast."""
