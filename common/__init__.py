"""What both sides of the federation share; nothing in here but `records` knows Flower."""

__version__ = "0.1.0"
