"""How a service logs: to standard output, for its lines belong in its journal, errors or not."""

from __future__ import annotations

import logging
import sys


def log_to_output(name: str) -> None:
    """Log every line with its time and this name."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"%(asctime)s [{name}] %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
