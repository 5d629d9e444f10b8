"""An experiment keeps to one network, also where nobody named one."""

from __future__ import annotations

import json
from pathlib import Path

from common.config import Settings
from common.errors import InputError
from common.patchcore.network.architecture import AUTO


def with_network_of(out: Path, settings: Settings) -> Settings:
    """Keep to the network of the runs that are there, where nobody chose one.

    What `auto` stands for may have changed since: weights were fetched, or went away.

    Parameters
    ----------
    out : Path
        Folder of the experiment.
    settings : Settings
        Its plan's.

    Raises
    ------
    InputError
        If its runs are of several networks.
    """
    if not settings.backbone == settings.layers == settings.weights == AUTO:
        return settings
    networks = set()
    for path in sorted(out.glob("runs/*/run.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))["settings"]
            networks.add(tuple(str(told[key]) for key in ("backbone", "layers", "weights")))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not whole: that run is done again
    named = sorted(network for network in networks if AUTO not in network)
    if len(named) > 1:
        listed = " and ".join(f"{backbone} ({layers})" for backbone, layers, _ in named)
        raise InputError(
            f"{out}: holds runs of several networks, {listed}; name one with backbone in the "
            "plan's settings, or give a new folder"
        )
    if not named:
        return settings
    backbone, layers, weights = named[0]
    return settings.with_(backbone=backbone, layers=layers, weights=weights)
