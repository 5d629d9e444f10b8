"""Who ended a run from outside: asked of the SuperLink, which alone knows."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from common.paths import STATIONS_VARIABLE, SUPERLINK_VARIABLE

_PATIENCE_SECONDS: Final = 3.0
"""The process is told to end, and has not much longer."""
BY_ADMINISTRATOR: Final = "by the administrator"


def cause_of_end(run_id: str) -> str | None:
    """Say who ended this run, if it was neither this process nor anything that it did.

    Parameters
    ----------
    run_id : str
        Flower's.

    Returns
    -------
    str or None
        "by the administrator" and so on, to be put behind "stopped"; None if the run goes on as
        far as the SuperLink knows, or it does not answer within 3 s.
    """
    found: list[str] = []
    # A daemon: if the SuperLink hangs, nothing waits for this.
    asking = threading.Thread(target=lambda: found.append(_ask(run_id)), daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    status = found[0] if found else ""
    if status.startswith("finished:stopped"):
        return BY_ADMINISTRATOR
    if status.startswith("finished"):
        return f"by the SuperLink, which counts it as {status}"
    return None


def _ask(run_id: str) -> str:
    address, members = os.environ.get(SUPERLINK_VARIABLE), os.environ.get(STATIONS_VARIABLE)
    if not address or not members or not run_id.isdigit():
        return ""
    from common.plant.server.control import connected

    try:
        with connected(address, Path(members).parent / "ca.crt") as control:
            return control.run_status(int(run_id))
    except Exception:  # whatever keeps it from answering: then nobody knows
        return ""
