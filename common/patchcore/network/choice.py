"""What `auto` stands for on this machine: a backbone, its layers, and its weights."""

from __future__ import annotations

from common.config import Settings
from common.errors import MissingWeightsError
from common.patchcore.network.architecture import AUTO
from common.patchcore.network.architectures import DEFAULT, FALLBACK, find_backbone
from common.patchcore.network.weights import missing_published, published_file


def settle_network(settings: Settings, *, may_fall_back: bool) -> tuple[Settings, str | None]:
    """Put names in the place of every `auto` that says which network it is; downloads nothing.

    Parameters
    ----------
    settings : Settings
        Names checked before (`check_names`).
    may_fall_back : bool
        Whether another backbone may take the place of the default one where its weights are not on
        this machine and nobody chose anything. Not at real stations: one plant has one network.

    Returns
    -------
    settings : Settings
        With a backbone, its layers, and weights other than `auto`.
    notice : str or None
        What to tell people, if another backbone took that place.

    Raises
    ------
    MissingWeightsError
        If weights are `auto` and not on this machine. They never become random ones.
    """
    notice = None
    if settings.backbone == AUTO:
        nothing_chosen = settings.weights == settings.layers == AUTO
        backbone = DEFAULT
        if may_fall_back and nothing_chosen and published_file(DEFAULT) is None:
            backbone = FALLBACK
            notice = (
                f"no weights of {DEFAULT} on this machine: {FALLBACK}, a smaller network with "
                f"ImageNet weights, takes its place; `fedpatchcore fetch weights {DEFAULT}` gets "
                "the larger one"
            )
        settings = settings.with_(backbone=backbone)
    layers = find_backbone(settings.backbone).used(settings.layers)
    settings = settings.with_(layers=",".join(layers))
    if settings.weights == AUTO:
        if published_file(settings.backbone) is None:
            raise MissingWeightsError(missing_published(settings.backbone))
        settings = settings.with_(weights="imagenet")
    return settings, notice
