"""What is imported once and stays for good is never looked over for garbage."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def imported_for_good() -> Iterator[None]:
    """Import in here what stays until the process ends.

    A million objects come with torch. Python would look them over time and again while they come,
    and three times more when the process ends: a third of what a process costs that answers one
    message. No garbage is among them, so they are put where it does not look; nothing is where all
    was imported before.
    """
    enabled, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if enabled:
            gc.enable()
