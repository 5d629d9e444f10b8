"""Folders on this machine that are not given by the user."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Private cache of this user: `$FEDPATCHCORE_CACHE`, else `fedpatchcore` in the XDG cache."""
    chosen = os.environ.get("FEDPATCHCORE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "fedpatchcore"
